-- Called by apply, to see which policy files it can pass over.
--
-- Returns each table and view with a digest of all that a file in policies/ can change of it.
--
-- $1  the schemas
select
    c.oid::regclass::text as relation,
    md5(row(
        c.relowner::regrole, c.relrowsecurity, c.relforcerowsecurity, c.relacl,
        (
            select array_agg(row(a.attname, a.attacl)::text order by a.attnum)
              from pg_attribute as a
             where a.attrelid = c.oid and a.attacl is not null
        ),
        (
            select array_agg(row(
                       p.polname, p.polcmd, p.polpermissive, p.polroles::regrole[],
                       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
                   )::text order by p.polname)
              from pg_policy as p
             where p.polrelid = c.oid
        )
    )::text) as state
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
 where n.nspname = any($1::text[]) and c.relkind in ('r', 'p', 'v', 'm');
