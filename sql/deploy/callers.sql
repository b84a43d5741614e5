-- Called by apply, before it revokes privileges: the gateways of the release before still need those of stale
-- routines.
--
-- Returns each routine with each role that may execute it and does not own it.
--
-- $1  the schemas
select p.oid::regprocedure::text as routine, g.grantee::regrole::text as caller
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace
 cross join lateral aclexplode(p.proacl) as g
 where n.nspname = any($1::text[]) and g.grantee <> p.proowner and g.grantee <> 0;
