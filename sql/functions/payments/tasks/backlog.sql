-- Called by the worker.
--
-- How many purchases have news that nobody has looked at, and for how many seconds the first of them has waited.
create or replace function payments.backlog(out waiting bigint, out oldest_seconds double precision)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select count(*), coalesce(extract(epoch from base.clock() - min(dirty_since)), 0)
      from payments.tasks where dirty_since is not null
$$;

alter function payments.backlog owner to mana_payments;
revoke all on function payments.backlog from public;
grant execute on function payments.backlog to mana_worker;
