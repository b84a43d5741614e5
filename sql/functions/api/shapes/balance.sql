-- Called by api.get_balance.
--
-- A balance.
create or replace function api.balance(p_balance credits.balance_summary)
returns json
language sql
stable
as $$
    select json_build_object(
        'balance', p_balance.balance,
        'freeCreditsRemaining', p_balance.free_credits_remaining,
        'totalEarned', p_balance.total_earned,
        'totalSpent', p_balance.total_spent,
        'dailyFreeCredits', p_balance.daily_free_credits,
        'nextDailyCreditsAt', api.iso_time(p_balance.next_daily_credits_at),
        'version', p_balance.version
    )
$$;

alter function api.balance owner to mana_api;
revoke all on function api.balance from public;
grant execute on function api.balance to mana_api;
