-- Called by apply, at its end, for the database and for what the files make in an empty one.
--
-- Returns each object in our schemas with all that a file, or a stranger, can change of it: object, facet, value.
-- A text that is too long to print is a digest. Grantors, and PUBLIC's use of types, are left out: they depend on
-- the administrator.
--
-- $1  the schemas
with relations as (
    select
        c.*,
        case c.relkind
            when 'v' then 'view'
            when 'm' then 'materialized view'
            when 'S' then 'sequence'
            when 'c' then 'type'
            when 'i' then 'index'
            else 'table'
        end || ' ' || c.oid::regclass as label
      from pg_class as c
     where c.relnamespace = any($1::text[]::regnamespace[]) and c.relkind <> 'I'
),

held (kind, id, part, acl) as (
    select 'schema', n.oid, 0, coalesce(n.nspacl, acldefault('n', n.nspowner))
      from pg_namespace as n
     where n.oid = any($1::text[]::regnamespace[])
    union all
    select
        'relation', r.oid, 0,
        coalesce(
            r.relacl, case r.relkind when 'S' then acldefault('s', r.relowner) else acldefault('r', r.relowner) end
        )
      from relations as r
    union all
    select 'relation', a.attrelid, a.attnum, a.attacl
      from pg_attribute as a
      join relations as r on r.oid = a.attrelid
    union all
    select 'routine', p.oid, 0, coalesce(p.proacl, acldefault('f', p.proowner))
      from pg_proc as p
     where p.pronamespace = any($1::text[]::regnamespace[])
    union all
    select 'type', t.oid, 0, coalesce(t.typacl, acldefault('T', t.typowner))
      from pg_type as t
     where t.typnamespace = any($1::text[]::regnamespace[])
),

privileges as (
    select
        h.kind, h.id, h.part,
        string_agg(distinct concat_ws(
            ' ', case when a.grantee = 0 then 'PUBLIC' else a.grantee::regrole::text end,
            a.privilege_type, case when a.is_grantable then 'with grant option' end
        ), ', ') as shown
      from held as h
     cross join lateral aclexplode(h.acl) as a
     where h.kind <> 'type' or a.grantee <> 0
     group by h.kind, h.id, h.part
),

-- Each policy's roles
named_roles as (
    select
        p.oid as policy,
        string_agg(case when m.role = 0 then 'PUBLIC' else m.role::regrole::text end, ', ' order by m.role) as shown
      from pg_policy as p
     cross join lateral unnest(p.polroles) as m (role)
     group by p.oid
),

objects (label, facets) as (
    -- Whatever there is, by name: an operator, a collation, a statistics object
    select pg_describe_object(d.classid, d.objid, 0), jsonb_build_object('exists', true)
      from pg_depend as d
     where d.refclassid = 'pg_namespace'::regclass
       and d.refobjid = any($1::text[]::regnamespace[])
       and d.classid not in (
           'pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass, 'pg_default_acl'::regclass
       )
    union all
    select 'schema ' || n.nspname, jsonb_build_object('owner', n.nspowner::regrole, 'privileges', held.shown)
      from pg_namespace as n
      left join privileges as held on held.kind = 'schema' and held.id = n.oid
     where n.nspname = any($1::text[])
    union all
    select
        r.label,
        jsonb_build_object(
            'owner', r.relowner::regrole,
            'privileges', held.shown,
            'row-level security',
            case when not r.relrowsecurity then 'off' when r.relforcerowsecurity then 'forced' else 'on' end,
            -- Those of a table are how it is stored: an operator's own affair
            'options', case when r.relkind in ('v', 'm') then r.reloptions end,
            'persistence', r.relpersistence,
            'replica identity', r.relreplident,
            'parents', array(
                select i.inhparent::regclass
                  from pg_inherits as i
                 where i.inhrelid = r.oid
                 order by i.inhparent
            ),
            'children', array(
                select i.inhrelid::regclass
                  from pg_inherits as i
                 where i.inhparent = r.oid
                 order by i.inhrelid
            ),
            'definition', case when r.relkind in ('v', 'm') then md5(pg_get_viewdef(r.oid)) end
        )
      from relations as r
      left join privileges as held on held.kind = 'relation' and held.id = r.oid and held.part = 0
     where r.relkind <> 'i'
    union all
    select r.label, jsonb_build_object('definition', pg_get_indexdef(r.oid), 'valid', i.indisvalid)
      from relations as r
      join pg_index as i on i.indexrelid = r.oid
    union all
    select
        'column ' || r.oid::regclass || '.' || a.attname,
        jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod),
            'not null', a.attnotnull,
            'default', pg_get_expr(d.adbin, d.adrelid),
            'generated', concat(a.attgenerated, a.attidentity),
            'collation', case when a.attcollation <> 0 then a.attcollation::regcollation end,
            'privileges', held.shown
        )
      from relations as r
      join pg_attribute as a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
      left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
      left join privileges as held on held.kind = 'relation' and held.id = r.oid and held.part = a.attnum
     where r.relkind <> 'i'
    union all
    select
        'constraint ' || c.conname || ' on '
        || case when c.conrelid <> 0 then c.conrelid::regclass::text else c.contypid::regtype::text end,
        jsonb_build_object('definition', pg_get_constraintdef(c.oid))
      from pg_constraint as c
     where c.connamespace = any($1::text[]::regnamespace[]) and c.contype not in ('n', 't')
    union all
    -- Those of a foreign key have a number for a name
    select
        'trigger ' || case when t.tgisinternal then 'of ' || c.conname else t.tgname end || ' on ' || r.oid::regclass,
        jsonb_build_object(
            'enabled', string_agg(t.tgenabled::text, '' order by t.tgname),
            'definition', string_agg(case when not t.tgisinternal then pg_get_triggerdef(t.oid) end, '')
        )
      from pg_trigger as t
      join relations as r on r.oid = t.tgrelid
      left join pg_constraint as c on c.oid = t.tgconstraint
     group by t.tgisinternal, c.conname, case when not t.tgisinternal then t.tgname end, t.tgname, r.oid
    union all
    select
        'rule ' || u.rulename || ' on ' || r.oid::regclass,
        jsonb_build_object('enabled', u.ev_enabled, 'definition', md5(pg_get_ruledef(u.oid)))
      from pg_rewrite as u
      join relations as r on r.oid = u.ev_class
     where u.rulename <> '_RETURN'
    union all
    select
        'policy ' || quote_ident(p.polname) || ' on ' || r.oid::regclass,
        jsonb_build_object(
            'command', p.polcmd,
            'permissive', p.polpermissive,
            'roles', named.shown,
            'using', pg_get_expr(p.polqual, p.polrelid),
            'check', pg_get_expr(p.polwithcheck, p.polrelid)
        )
      from pg_policy as p
      join relations as r on r.oid = p.polrelid
      join named_roles as named on named.policy = p.oid
    union all
    select
        'routine ' || p.oid::regprocedure,
        jsonb_build_object(
            'owner', p.proowner::regrole,
            'privileges', held.shown,
            'definition', case when p.prokind <> 'a' then md5(pg_get_functiondef(p.oid)) end
        )
      from pg_proc as p
      left join privileges as held on held.kind = 'routine' and held.id = p.oid
     where p.pronamespace = any($1::text[]::regnamespace[])
    union all
    select
        'type ' || t.oid::regtype,
        jsonb_build_object(
            'owner', t.typowner::regrole,
            'privileges', held.shown,
            'labels', array(
                select e.enumlabel
                  from pg_enum as e
                 where e.enumtypid = t.oid
                 order by e.enumsortorder
            )
        )
      from pg_type as t
      left join privileges as held on held.kind = 'type' and held.id = t.oid
     where t.typnamespace = any($1::text[]::regnamespace[]) and t.typelem = 0
)

select o.label as object, f.key as facet, f.value
  from objects as o
 cross join lateral jsonb_each_text(o.facets) as f
