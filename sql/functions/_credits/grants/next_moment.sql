-- Called by _credits.due_window, _credits.find_discrepancies and _credits.post_movements.
--
-- When the next movement of a balance happens: at p_at, but later than the one before by a microsecond
-- at least, also when the clock went back. So the order of ids is the order of the ledger.
create or replace function _credits.next_moment(p_updated_at timestamptz, p_at timestamptz)
returns timestamptz
language sql
stable
parallel safe
as $$
    select greatest(p_at, p_updated_at + interval '1 microsecond')
$$;

alter function _credits.next_moment owner to mana_ledger;
revoke all on function _credits.next_moment from public;
grant execute on function _credits.next_moment to mana_ledger, mana_auditor;
