-- Called by GET /api/v1/credits/balance.
--
-- Raises  PT401 as auth.begin_request does   PT404 not_found
create or replace function api.get_balance(p_user_id uuid, p_claims text, p_context text)
returns api.response
language plpgsql
volatile
as $$
declare
    v_balance credits.balance_summary;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    v_balance := credits.get_balance();
    return (200, json_build_object(
        'balance', v_balance.balance,
        'freeCreditsRemaining', v_balance.free_credits_remaining,
        'totalEarned', v_balance.total_earned,
        'totalSpent', v_balance.total_spent,
        'dailyFreeCredits', v_balance.daily_free_credits,
        'nextDailyCreditsAt', api.iso_time(v_balance.next_daily_credits_at),
        'version', v_balance.version
    ), null::json);
end
$$;

alter function api.get_balance owner to mana_owner;
revoke all on function api.get_balance from public;
grant execute on function api.get_balance to mana_gateway;
