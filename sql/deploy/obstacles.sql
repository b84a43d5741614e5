-- Called by apply, before it changes anything.
--
-- Returns one line for each thing that a deploy would fail at: what somebody else has made under our names in a
-- database that we have not been in, and roles that a restored database lacks.
--
-- $1  the schemas
-- $2  the roles that the applied migrations have made; none if no migration was applied
select 'schema ' || n.nspname || ' is there already and is not ours' as obstacle
  from pg_namespace as n
 where cardinality($2::text[]) = 0 and n.nspname = any(array_append($1::text[], 'extensions'))
union all
select 'extension pgcrypto is there already, in schema ' || e.extnamespace::regnamespace
  from pg_extension as e
 where cardinality($2::text[]) = 0 and e.extname = 'pgcrypto'
union all
select 'role ' || r.role || ' is missing'
  from unnest($2::text[]) as r (role)
 where to_regrole(r.role) is null
