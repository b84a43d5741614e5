-- The rules that every table, function, policy and role keeps, as queries for what breaks them.
begin;
\ir ../setup.psql
select plan(33);

create view tap.our_tables as
select c.*
  from pg_class as c
 where c.relnamespace in (select oid from our_schemas)
   and c.relkind in ('r', 'p', 'f');

create view tap.our_functions as
select p.*
  from pg_proc as p
 where p.pronamespace in (select oid from our_schemas);

create view tap.our_policies as
select p.*
  from pg_policy as p
  join tap.our_tables as t on t.oid = p.polrelid;

create view tap.our_roles as
select * from pg_roles where rolname ~ '^mana_';

-- Tables with rows of a user, and the column that says whose.
create view tap.user_owned as
select t.oid, a.attnum
  from tap.our_tables as t
  join pg_attribute as a on a.attrelid = t.oid and a.attname = 'user_id';


-- Row-level security

select is_empty(
    'select oid::regclass from our_tables where not (relrowsecurity and relforcerowsecurity)',
    'row-level security is enabled and forced on every table'
);

select is_empty(
    $$ select p.polrelid::regclass, p.polname, d.refobjid::regclass
         from our_policies as p
         join pg_depend as d
           on d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
        where d.refobjid <> p.polrelid $$,
    'no policy reads another table'
);

select is_empty(
    'select polrelid::regclass, polname from our_policies where 0 = any(polroles)',
    'every policy names the role it is for'
);

select is_empty(
    'select oid::regclass from our_tables where oid not in (select polrelid from our_policies)',
    'every table has a policy'
);

select is_empty(
    $$ select polrelid::regclass, polname from our_policies where polcmd in ('*', 'a', 'w') and polwithcheck is null $$,
    'every policy that lets rows be written checks what is written'
);

select is_empty(
    $$ select p.polrelid::regclass, p.polname
         from our_policies as p
         join user_owned as u on u.oid = p.polrelid
        where p.polroles <> array['mana_auditor'::regrole::oid]
          -- Whose purchase an object of the provider is, and which task is due, has to be found out before it is known.
          and not (p.polrelid in ('payments.objects'::regclass, 'payments.tasks'::regclass)
                   and p.polroles = array['mana_payments'::regrole::oid])
          and (pg_get_expr(p.polqual, p.polrelid) is distinct from pg_get_expr(p.polwithcheck, p.polrelid)
               or pg_get_expr(p.polqual, p.polrelid) not in (
                   '(user_id = ANY (( SELECT auth.user_ids() AS user_ids)::uuid[]))'
               )) $$,
    'every policy of a user''s table, but the auditor''s and two, is for the rows of who acts, to read as to write'
);


-- Functions

select is_empty(
    $$ select oid::regprocedure from our_functions
        where prosecdef
          and array_remove(proconfig, 'plan_cache_mode=force_generic_plan')
              is distinct from array['search_path=pg_catalog, pg_temp'] $$,
    'every definer has the search path pg_catalog, pg_temp and no other setting but one for its plans'
);

select is_empty(
    $$ select oid::regprocedure from our_functions
        where prolang = (select oid from pg_language where lanname = 'plpgsql')
          -- What these look for, they look for in pg_catalog alone; to set the path takes longer than they do.
          and oid not in ('_auth.request_context(text)'::regprocedure, 'api.refused(text,text,json)'::regprocedure)
          and 'search_path=pg_catalog, pg_temp' <> all(coalesce(proconfig, '{}')) $$,
    'so has every other function in PL/pgSQL but two'
);

select is_empty(
    $$ select oid::regprocedure, proowner::regrole from our_functions
        where proowner::regrole::text not in (
                  'mana_auth', 'mana_ledger', 'mana_payments', 'mana_auditor', 'mana_api', 'mana_owner'
              )
           or prosecdef and proowner = 'mana_owner'::regrole $$,
    'every definer runs as one of the definer roles'
);

select is_empty(
    $$ select f.oid::regprocedure
         from our_functions as f
        cross join lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) as g
        where g.grantee = 0 $$,
    'PUBLIC may execute no function'
);

select is_empty(
    $$ select oid::regprocedure from our_functions
        where (pronamespace, proname) = ('auth'::regnamespace, 'user_ids')
          and (prolang <> (select oid from pg_language where lanname = 'sql')
               or provolatile <> 's' or prosecdef or proconfig is not null or proisstrict) $$,
    'what the policies call can be inlined'
);

select is_empty(
    $$ select oid::regprocedure from our_functions where prosrc ~ 'set_config\([^;]*,\s*false\s*\)' $$,
    'no function makes a setting that outlives its transaction'
);

select is_empty(
    'select oid::regprocedure from our_functions where proisstrict',
    'no function answers a null argument with a silent null'
);

select is_empty(
    $$ select oid::regprocedure from our_functions
        where prosecdef is distinct from has_function_privilege('mana_gateway', oid, 'execute')
          and (pronamespace = 'api'::regnamespace or has_function_privilege('mana_gateway', oid, 'execute')) $$,
    'the gateway may call the definers of api alone'
);

select is_empty(
    $$ select oid::regprocedure from our_functions
        where has_function_privilege('mana_worker', oid, 'execute')
          and not (prosecdef and pronamespace = 'payments'::regnamespace) $$,
    'the worker may call definers of payments alone'
);


-- Roles

select is_empty(
    'select rolname from our_roles where rolsuper or rolbypassrls or rolcreatedb or rolcreaterole or rolreplication',
    'no role is above the rules'
);

select is(
    (select array_agg(rolname::text order by rolname) from our_roles where rolcanlogin),
    array['mana_gateway', 'mana_worker'],
    'only the gateway and the worker may log in'
);

select is_empty(
    $$ select a.rolname, b.rolname
         from our_roles as a
         join our_roles as b on a.oid <> b.oid
        where pg_has_role(a.oid, b.oid, 'member') $$,
    'no role is a member of another'
);

select is_empty(
    $$ select r.rolname, n.nspname
         from our_roles as r
        cross join pg_namespace as n
        where r.rolname <> 'mana_owner'
          and (n.oid in (select oid from our_schemas) or n.nspname in ('extensions', 'public', 'deploy'))
          and has_schema_privilege(r.oid, n.oid, 'create') $$,
    'no role may create in a schema, but the one that owns them'
);

select is_empty(
    $$ select rolname from our_roles where has_database_privilege(oid, current_database(), 'temporary') $$,
    'no role may make temporary tables'
);

select is_empty(
    $$ select oid::regclass, relowner::regrole from our_tables where relowner <> 'mana_owner'::regrole $$,
    'every table belongs to mana_owner'
);

select is(
    (select array_agg(split_part(setting, '=', 1) order by setting)
       from pg_db_role_setting
      cross join unnest(setconfig) as setting
      where setrole = 'mana_gateway'::regrole and setdatabase = 0),
    array[
        'default_transaction_isolation', 'idle_in_transaction_session_timeout', 'lock_timeout', 'search_path',
        'statement_timeout'
    ],
    'the gateway has its timeouts and its search path'
);


-- The ledger is append-only

select is_empty(
    $$ select r.rolname, t.relation, p.privilege
         from pg_roles as r
        cross join unnest(array['credits.transactions', 'credits.ledger_entries']) as t (relation)
        cross join unnest(array['update', 'delete', 'truncate']) as p (privilege)
        where has_table_privilege(r.oid, t.relation, p.privilege)
          and r.rolname !~ '^pg_'
          and not r.rolsuper and not pg_has_role(r.oid, 'mana_owner', 'member') $$,
    'nobody but the owner of the ledger has the privilege to change what it says'
);

select is_empty(
    $$ select a.attrelid::regclass, a.attname, g.privilege_type
         from pg_attribute as a
        cross join lateral aclexplode(a.attacl) as g
        where a.attrelid in ('credits.transactions'::regclass, 'credits.ledger_entries'::regclass)
          and g.privilege_type <> 'SELECT' $$,
    'nor has anybody for a single column'
);

-- How many rows a statement touches; none, too, when it is refused outright.
create function tap.rows_touched(p_sql text)
returns bigint
language plpgsql
as $$
declare
    v_rows bigint;
begin
    execute p_sql;
    get diagnostics v_rows = row_count;
    return v_rows;
exception
    when insufficient_privilege then return 0;
end
$$;

select make_users('ada');
set local role mana_owner;
select is(rows_touched(statement), 0::bigint, format('as the owner, no row is touched by: %s', statement))
  from unnest(array[
      'update credits.transactions set amount = amount', 'delete from credits.transactions',
      'update credits.ledger_entries set amount = amount', 'delete from credits.ledger_entries'
  ]) as statement;
select throws_ok('truncate ' || t, '42501', null, format('as the owner, %s cannot be truncated', t))
  from unnest(array['credits.transactions cascade', 'credits.ledger_entries']) as t;
reset role;


-- Ready to be sharded by user

select results_eq(
    $$ select i.indexrelid::regclass::text
         from pg_index as i
         join user_owned as u on u.oid = i.indrelid
        where i.indkey[0] <> u.attnum
        order by 1 $$,
    -- An identity at a provider is one user's in all of the service, and is looked up by itself; so is an object of
    -- the provider of payments. The ledger is followed in the order in which it was committed. The worker asks for
    -- the tasks that are due, whosever they are.
    $$ values ('auth.accounts_provider_id_account_id_key'), ('credits.ledger_entries_by_xact_id'),
              ('payments.objects_pkey'), ('payments.tasks_by_dirty_since'), ('payments.tasks_by_due_at') $$,
    'every primary key and index of a user''s table leads with user_id'
);

select is_empty(
    $$ select oid::regclass from user_owned where oid not in (select indrelid from pg_index where indisprimary) $$,
    'every table of a user has a primary key'
);

select is_empty(
    $$ select k.conrelid::regclass, k.conname
         from pg_constraint as k
         join user_owned as u on u.oid = k.conrelid
         join pg_attribute as target
           on target.attrelid = k.confrelid
          and target.attname = case k.confrelid when 'auth.users'::regclass then 'id' else 'user_id' end
        where k.contype = 'f'
          and not exists (
              select
                from unnest(k.conkey, k.confkey) as pair (here, there)
               where pair.here = u.attnum and pair.there = target.attnum
          ) $$,
    'every foreign key between tables of a user includes user_id'
);

select * from finish();
rollback;
