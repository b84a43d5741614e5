-- Called by rollback and by apply.
--
-- Returns the statements that drop policies.
--
-- $1  the schemas
-- $2  tables and views that stay as they are
-- $3  whether to drop only what is older than this transaction, so that no file has written it. (What a
--     savepoint wrote is younger.)
select 'drop policy ' || quote_ident(p.polname) || ' on ' || p.polrelid::regclass
  from pg_policy as p
  join pg_class as c on c.oid = p.polrelid
  join pg_namespace as n on n.oid = c.relnamespace
 where n.nspname = any($1::text[]) and c.oid::regclass::text <> all($2::text[])
   and (not $3::boolean or age(p.xmin) > 0);
