-- Called by every function that needs the time.
--
-- The time of this moment, not of the transaction's start: a function that waited for a lock
-- must see how late it has become. Tests replace this function; no setting can move the clock
-- of a running service.
create or replace function base.clock()
returns timestamptz
language sql
volatile
as $$
    select clock_timestamp()
$$;

alter function base.clock owner to mana_owner;
revoke all on function base.clock from public;
grant execute on function base.clock to mana_auth, mana_ledger, mana_auditor, mana_payments;
