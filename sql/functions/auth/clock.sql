-- Called by every function that needs the time.
--
-- The time of this moment, not of the transaction's start: a function that waited for a lock
-- must see how late it has become. Tests replace this function; there is no setting that could
-- move the clock of a running service.
create or replace function auth.clock()
returns timestamptz
language sql
volatile
as $$
    select clock_timestamp()
$$;

alter function auth.clock owner to mana_auth;
revoke all on function auth.clock from public;
grant execute on function auth.clock to mana_auth, mana_ledger;
