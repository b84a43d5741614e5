-- Called by api.get_balance.
--
-- A balance. The paid part is never shown below zero: what is missing is the debt, which the next purchase pays.
create or replace function api.balance(p_balance credits.balance_state)
returns json
language sql
stable
as $$
    select json_build_object(
        'balance', greatest(p_balance.balance, 0),
        'freeCreditsRemaining', p_balance.free_credits_remaining,
        'held', p_balance.held,
        'debt', greatest(-p_balance.balance::numeric, 0),
        'spendable', p_balance.spendable,
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
