-- Called by apply, before it writes functions and policies: the files name every grant on our objects, so what an
-- earlier release or somebody else granted beyond that goes, and what was granted on from there.
--
-- Returns the statements that revoke what others than the owner hold on objects in our schemas, and what our roles
-- hold on the database and on all schemas.
--
-- $1  the schemas
-- $2  tables and views that stay as they are
-- $3  the roles
with held (kind, name, owner, acl, ours) as (
    select 'database', quote_ident(d.datname), d.datdba, d.datacl, false
      from pg_database as d
     where d.datname = current_database()
    union all
    select
        'schema', n.oid::regnamespace::text, n.nspowner, n.nspacl,
        n.nspname = any(array_append($1::text[], 'extensions'))
      from pg_namespace as n
    union all
    select 'routine', p.oid::regprocedure::text, p.proowner, p.proacl, true
      from pg_proc as p
      join pg_namespace as n on n.oid = p.pronamespace
     where n.nspname = any($1::text[])
    union all
    select case c.relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass::text, c.relowner, held.acl, true
      from pg_class as c
      join pg_namespace as n on n.oid = c.relnamespace
     cross join lateral (
        select c.relacl
        union all
        select a.attacl
          from pg_attribute as a
         where a.attrelid = c.oid
     ) as held (acl)
     where n.nspname = any($1::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
       and c.oid::regclass::text <> all($2::text[])
    union all
    select 'type', t.oid::regtype::text, t.typowner, t.typacl, true
      from pg_type as t
      join pg_namespace as n on n.oid = t.typnamespace
     where n.nspname = any($1::text[])
)

select distinct
    format(
        'revoke all on %s %s from %s cascade', held.kind, held.name,
        case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
    )
  from held
 cross join lateral aclexplode(held.acl) as a
 where a.grantee <> held.owner
   and case
       when a.grantee = any($3::text[]::regrole[]) then true
       when held.kind = 'type' then held.ours and a.grantee <> 0  -- everybody may use types
       else held.ours
   end;
