-- Called by apply, before it writes functions and policies: the files name every grant to our roles, so what an
-- earlier release granted to one of them beyond that goes. Grants to other roles are not ours to revoke.
--
-- Returns the statements that revoke what our roles hold on the database, on schemas, routines and tables.
--
-- $1  the schemas
-- $2  tables and views that stay as they are
-- $3  the roles
with held (kind, name, owner, acl) as (
    select 'database', quote_ident(d.datname), d.datdba, d.datacl
      from pg_database as d
     where d.datname = current_database()
    union all
    select 'schema', n.oid::regnamespace::text, n.nspowner, n.nspacl from pg_namespace as n
    union all
    select 'routine', p.oid::regprocedure::text, p.proowner, p.proacl
      from pg_proc as p
      join pg_namespace as n on n.oid = p.pronamespace
     where n.nspname = any($1::text[])
    union all
    select 'table', c.oid::regclass::text, c.relowner, held.acl
      from pg_class as c
      join pg_namespace as n on n.oid = c.relnamespace
     cross join lateral (
        select c.relacl
        union all
        select a.attacl
          from pg_attribute as a
         where a.attrelid = c.oid
     ) as held (acl)
     where n.nspname = any($1::text[]) and c.relkind in ('r', 'p', 'v', 'm')
       and c.oid::regclass::text <> all($2::text[])
)

select distinct format('revoke all on %s %s from %s', held.kind, held.name, a.grantee::regrole)
  from held
 cross join lateral aclexplode(held.acl) as a
 where a.grantee <> held.owner and a.grantee = any($3::text[]::regrole[]);
