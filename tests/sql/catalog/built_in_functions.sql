-- PostgreSQL's own functions that fill the disk or the table of locks: those that need one may call it.
begin;
\ir ../setup.psql
select plan(10);

create view tap.harmful as
select oid, proname
  from pg_proc
 where pronamespace = 'pg_catalog'::regnamespace
   and (proname ~ '^(lo_|pg_(try_)?advisory_)'
        or proname in ('loread', 'lowrite', 'pg_export_snapshot', 'pg_logical_emit_message'));

select ok((select count(*) > 40 from harmful), 'there are such functions');
select is_empty(
    $$
    select h.oid::regprocedure, r.role
      from harmful as h
     cross join unnest(array[
         'public', 'mana_reader', 'mana_gateway', 'mana_worker', 'mana_api', 'mana_ledger', 'mana_payments',
         'mana_auditor', 'mana_owner'
     ]) as r (role)
     where has_function_privilege(r.role, h.oid, 'execute')
    $$,
    'a role that needs none may call none'
);
select set_eq(
    $$ select distinct proname::text from harmful where has_function_privilege('mana_auth', oid, 'execute') $$,
    $$ values ('pg_logical_emit_message') $$,
    'a login may write a message to the WAL'
);
select is_empty(
    $$
    select oid::regprocedure
      from harmful
     where has_function_privilege('mana_backend', oid, 'execute')
               = (proname in ('pg_logical_emit_message', 'lo_import', 'lo_export'))
    $$,
    'a backend may lock and store what is its own'
);

select is_empty(
    $$
    select h.oid::regprocedure, r.rolname
      from harmful as h
      join pg_roles as r on has_function_privilege(r.oid, h.oid, 'execute')
     where h.proname in ('lo_import', 'lo_export') and not r.rolsuper
    $$,
    'only a superuser reads and writes the server''s files'
);

set local role mana_reader;
select throws_ok('select pg_advisory_lock(1835101794)', '42501', null, 'a reader takes no advisory lock');
select throws_ok('select lo_create(0)', '42501', null, 'a reader makes no large object');
select throws_ok(
    $$ select pg_logical_emit_message(false, 'x', 'y') $$, '42501', null, 'a reader writes nothing to the WAL'
);
select throws_ok('lock table deploy.running in share mode', '42501', null, 'a reader does not stop a deploy');
set local role mana_backend;
select throws_ok('lock table deploy.running in share mode', '42501', null, 'nor does a backend');
reset role;

select * from finish();
rollback;
