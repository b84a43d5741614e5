-- Called by apply, before it writes policies.
--
-- Returns one statement that locks all tables, so that one timeout bounds it; no row if there is no table.
-- The order is by name: sessions come before users, as in most calls. It locks with the ALTER TABLE that
-- every policy file begins with and that takes an owner: LOCK TABLE takes privileges that nobody has on
-- the ledger.
--
-- $1  the schemas
-- $2  tables that stay as they are
select
    format('do %L', 'begin ' || string_agg(
        format('alter table %s enable row level security;', c.oid::regclass), ' ' order by n.nspname, c.relname
    ) || ' end')
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
 where n.nspname = any($1::text[]) and c.relkind in ('r', 'p') and c.oid::regclass::text <> all($2::text[])
having count(*) > 0;
