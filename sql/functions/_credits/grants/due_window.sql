-- Called by credits.get_balances and _credits.lock_balances.
--
-- The 24-hour window whose daily grant is due to this balance at p_at; null when it has been paid.
-- Window 0 has the signup bonus, and windows that were missed are not paid later.
create or replace function _credits.due_window(p_balance credits.balances, p_at timestamptz)
returns int
language sql
stable
parallel safe
as $$
    select case
        when credits.grant_window(p_balance.created_at, _credits.next_moment(p_balance.updated_at, p_at))
             > credits.grant_window(p_balance.created_at, p_balance.last_daily_reset_at)
            then credits.grant_window(p_balance.created_at, _credits.next_moment(p_balance.updated_at, p_at))
    end
$$;

alter function _credits.due_window owner to mana_ledger;
revoke all on function _credits.due_window from public;
grant execute on function _credits.due_window to mana_ledger;
