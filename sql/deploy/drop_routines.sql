-- Called by rollback and by apply, after drop_policies: policies use functions.
--
-- Returns the statements that drop routines, without CASCADE.
--
-- $1  the schemas
-- $2  whether to drop only stale routines, as stale_routines has them
select 'drop routine ' || p.oid::regprocedure
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace
 where n.nspname = any($1::text[])
   and (not $2::boolean or age(p.xmin) >= 0);
