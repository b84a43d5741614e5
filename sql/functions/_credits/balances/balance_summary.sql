-- Called by credits.get_balances.
--
-- A balance as its callers get it. The daily grant of its window has been paid.
create or replace function _credits.balance_summary(p_balance credits.balances, p_daily_free_credits bigint)
returns credits.balance_state
language sql
stable
as $$
    select row(
        p_balance.balance, p_balance.free_credits_remaining, p_balance.held, _credits.spendable(p_balance),
        p_balance.total_earned, p_balance.total_spent, p_daily_free_credits,
        p_balance.created_at
        + (credits.grant_window(p_balance.created_at, p_balance.last_daily_reset_at) + 1) * interval '24 hours',
        p_balance.version
    )::credits.balance_state
$$;

alter function _credits.balance_summary owner to mana_ledger;
revoke all on function _credits.balance_summary from public;
grant execute on function _credits.balance_summary to mana_ledger;
