-- Called by api.get_balance and api.get_balance_batch.
--
-- What the question for a balance is answered with.
create or replace function api.get_balance_answer(p_summary credits.balance_summary)
returns api.response
language sql
stable
as $$
    select row(
        200,
        json_build_object(
            'balance', p_summary.balance,
            'freeCreditsRemaining', p_summary.free_credits_remaining,
            'totalEarned', p_summary.total_earned,
            'totalSpent', p_summary.total_spent,
            'dailyFreeCredits', p_summary.daily_free_credits,
            'nextDailyCreditsAt', api.iso_time(p_summary.next_daily_credits_at),
            'version', p_summary.version
        ),
        null
    )::api.response
$$;

alter function api.get_balance_answer owner to mana_owner;
revoke all on function api.get_balance_answer from public;
grant execute on function api.get_balance_answer to mana_gateway;
