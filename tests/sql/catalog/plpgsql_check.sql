-- What PL/pgSQL would find out only when a line is reached. The extension plpgsql_check is a
-- package of its own (postgresql-NN-plpgsql-check); without it this suite fails.
begin;
\ir ../setup.psql
select plan(2);

create extension if not exists plpgsql_check;
select set_config('search_path', 'tap, ' || extnamespace::regnamespace, true)
  from pg_extension where extname = 'plpgsql_check' \gset

create view tap.our_functions as
select p.oid
  from pg_proc as p
  join pg_language as l on l.oid = p.prolang
 where l.lanname = 'plpgsql'
   and p.pronamespace in (select oid from our_schemas);

select cmp_ok((select count(*) from our_functions), '>', 20::bigint, 'there are functions to check');

select is_empty(
    $$
    select f.oid::regprocedure, c.lineno, c.level, c.message
      from our_functions as f
     cross join lateral plpgsql_check_function_tb(f.oid, security_warnings => true) as c
     where c.level in ('error', 'warning security')
    $$,
    'no function has an error or a statement that can be injected into'
);

select * from finish();
rollback;
