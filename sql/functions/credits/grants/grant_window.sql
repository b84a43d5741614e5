-- Called by _credits.due_window, _credits.balance_summary, _credits.find_discrepancies and
-- credits.check_ledger.
--
-- Which 24-hour window since the account's creation p_at is in, counted from 0. 24 hours, not
-- calendar days: no time zone and no drift.
create or replace function credits.grant_window(p_created_at timestamptz, p_at timestamptz)
returns int
language sql
immutable
parallel safe
as $$
    select floor(extract(epoch from p_at - p_created_at) / 86400)::int
$$;

alter function credits.grant_window owner to mana_ledger;
revoke all on function credits.grant_window from public;
grant execute on function credits.grant_window to mana_ledger, mana_auditor;
