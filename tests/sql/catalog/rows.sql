-- Which rows each role reaches, found out by acting as it: every table, every role, SELECT, INSERT,
-- UPDATE and DELETE. What is written here is all there is: a table or a privilege that is missing
-- here fails the suite.
begin;
\ir ../setup.psql
select plan(7);

select make_users('ada', 'bob');

-- A row of both in the tables that no function writes yet.
insert into auth.accounts
select user_id, 'example', name || user_id, base.clock() from people;
insert into auth.verification_tokens
select user_id, sha256('token'), 'email', base.clock(), base.clock() from people;
insert into auth.two_factor_auth
select user_id, 'sealed', array[sha256('code')], null, base.clock() from people;
insert into credits.purchases
select user_id, gen_random_uuid(), null, 100, 100, null, 'pending', base.clock(), null from people;
insert into credits.backend_apps values ('somebody', 'app');
insert into credits.packages
values (gen_random_uuid(), 'pgTAP', null, 1, 1, null, true, 0, base.clock(), base.clock());

insert into credits.package_metadata select id, '{}' from credits.packages where name = 'pgTAP';

-- A row of both in the tables of purchases.
insert into credits.causes (user_id, cause, transaction_id)
select user_id, 'test', t.id from people join credits.transactions as t using (user_id);
insert into payments.customers select user_id, false, 'cus_' || name, base.clock() from people;
insert into payments.orders (user_id, purchase_id, package_id, credits, livemode, currency, amount, title, updated_at)
select user_id, p.id, gen_random_uuid(), p.credits, false, 'eur', 100, 'pgTAP', base.clock()
  from people join credits.purchases as p using (user_id);
insert into payments.refunds (user_id, id, purchase_id, reason, actor, created_at)
select user_id, gen_random_uuid(), purchase_id, 'test', 'pgTAP', base.clock() from people join payments.orders using (user_id);
insert into payments.objects select 'cs_' || name, user_id, purchase_id from people join payments.orders using (user_id);
insert into payments.tasks (user_id, purchase_id)
select user_id, purchase_id from people join payments.orders using (user_id);
insert into payments.events (id, endpoint, type, livemode, digest, outcome, created_at, received_at)
values ('evt_pgtap', 'pgtap', 'test', false, sha256('event'), 'test', base.clock(), base.clock());

select * from credits.check_ledger(p_full => true);

-- Every table, with the column that says whose a row is.
create view tap.tables as
select c.oid::regclass as relation,
       (select a.attname
          from pg_attribute as a
         where a.attrelid = c.oid
           and a.attname = case c.oid when 'auth.users'::regclass then 'id' else 'user_id' end) as owner_column
  from pg_class as c
 where c.relnamespace in (select oid from our_schemas)
   and c.relkind in ('r', 'p', 'f');

-- A statement on the rows of one person (on all rows of a table that holds nobody's).
create function tap.statement(p_table tap.tables, p_role text, p_command text, p_whose uuid)
returns text
language plpgsql
as $$
declare
    v_where  constant text := coalesce(quote_ident(p_table.owner_column) || ' = ' || quote_literal(p_whose), 'true');
    v_column constant name := (
        select attname
          from pg_attribute
         where attrelid = p_table.relation and attnum > 0
         order by has_column_privilege(p_role, p_table.relation::oid, attnum, 'update') desc, attnum
         limit 1
    );
    v_row jsonb;
begin
    execute format('select to_jsonb(t) from %s as t where %s limit 1', p_table.relation, v_where) into v_row;
    return case p_command
        when 'select' then format('select 1 from %s where %s', p_table.relation, v_where)
        when 'update' then format('update %s set %I = %2$I where %s', p_table.relation, v_column, v_where)
        when 'delete' then format('delete from %s where %s', p_table.relation, v_where)
        when 'insert' then format(
            'insert into %s select (jsonb_populate_record(null::%1$s, %L)).*', p_table.relation, v_row
        )
    end;
end
$$;

-- Tries one command on the rows of p_whose and takes it back. 1: rows were reached. 0: none was.
-- x: the policies refused the new row. -: the role has no privilege for it.
create function tap.attempt(p_table tap.tables, p_role text, p_command text, p_whose uuid, p_claims text)
returns text
language plpgsql
as $$
declare
    v_statement constant text := tap.statement(p_table, p_role, p_command, p_whose);
    v_rows bigint;
begin
    set local session_replication_role = replica;  -- foreign keys are not what is tried here
    if p_command = 'insert' then
        execute tap.statement(p_table, p_role, 'delete', p_whose);
    end if;
    perform set_config('request.user_ids', coalesce(nullif(p_claims, '')::json ->> 'sub', ''), true),
            set_config('request.jwt.claims', p_claims, true), set_config('role', p_role, true);
    execute v_statement;
    get diagnostics v_rows = row_count;
    raise sqlstate 'TAP00' using message = least(v_rows, 1);
exception
    when sqlstate 'TAP00' then
        return sqlerrm;
    when insufficient_privilege then
        return case when sqlerrm like 'permission denied%' then '-' else 'x' end;
end
$$;

-- One letter for each case: own rows, another user's, no claims, a service's claims, an admin's.
create function tap.outcomes(p_table tap.tables, p_role text, p_command text)
returns text
language sql
as $$
    select string_agg(
               tap.attempt(p_table, p_role, p_command, whose, coalesce(claims::text, '')), '' order by position
           )
      from (values
          (1, id_of('ada'), json_build_object('sub', id_of('ada'), 'role', 'user')),
          (2, id_of('bob'), json_build_object('sub', id_of('ada'), 'role', 'user')),
          (3, id_of('ada'), null),
          (4, id_of('ada'), json_build_object('role', 'service')),
          (5, id_of('ada'), json_build_object('sub', gen_random_uuid(), 'role', 'admin'))
      ) as c (position, whose, claims)
$$;

create table tap.reached as
select t.relation::text as relation, r.role,
       outcomes(t, r.role, 'select') as "select",
       outcomes(t, r.role, 'insert') as "insert",
       outcomes(t, r.role, 'update') as "update",
       outcomes(t, r.role, 'delete') as "delete"
  from tap.tables as t
 cross join unnest(array[
     'mana_owner', 'mana_auth', 'mana_ledger', 'mana_payments', 'mana_auditor', 'mana_api', 'mana_gateway',
     'mana_worker', 'mana_backend', 'mana_reader'
 ]) as r (role);

create function tap.reached_by(p_role text)
returns setof tap.reached
language sql
as $$
    select * from tap.reached
     where role = p_role and ("select", "insert", "update", "delete") <> ('-----', '-----', '-----', '-----')
$$;

select is_empty(
    $$ select relation from tables as t where attempt(t, current_user, 'select', id_of('bob'), '') <> '1' $$,
    'there is a row to reach in every table'
);

-- own, another's, no claims, service, admin:   select   insert   update   delete
select set_eq(
    $$ select * from reached_by('mana_auth') $$,
    $$
    values
    ('auth.users',           'mana_auth',        '11111', '11111', '11111', '-----'),
    ('auth.passwords',       'mana_auth',        '10000', '1xxxx', '-----', '-----'),
    ('auth.refresh_tokens',  'mana_auth',        '10000', '1xxxx', '10000', '10000'),
    ('auth.seal_key',        'mana_auth',        '11111', '-----', '-----', '-----'),
    ('auth.security_events', 'mana_auth',        '10000', '1xxxx', '-----', '-----'),
    ('auth.sessions',        'mana_auth',        '10000', '1xxxx', '10000', '10000')
    $$,
    'mana_auth reaches every user, and of the rest what belongs to the user it acts for, whatever the role'
);

select set_eq(
    $$ select * from reached_by('mana_ledger') $$,
    $$
    values
    ('credits.balances',       'mana_ledger',    '10000', '1xxxx', '10000', '-----'),
    ('credits.transactions',   'mana_ledger',    '10000', '1xxxx', '-----', '-----'),
    ('credits.ledger_entries', 'mana_ledger',    '10000', '1xxxx', '-----', '-----'),
    ('credits.causes',         'mana_ledger',    '10000', '1xxxx', '-----', '-----'),
    ('credits.purchases',      'mana_ledger',    '10000', '1xxxx', '10000', '-----'),
    ('credits.backend_apps',   'mana_ledger',    '11111', '11111', '-----', '11111'),
    ('credits.packages',       'mana_ledger',    '11111', '11111', '11111', '-----'),
    ('credits.package_metadata', 'mana_ledger',  '11111', '11111', '-----', '-----'),
    ('credits.settings',       'mana_ledger',    '11111', '-----', '11111', '-----')
    $$,
    'mana_ledger reaches the rows of the user it acts for, whatever the role'
);

-- Of objects and tasks every row: whose purchase one is about has to be found out before it is known.
select set_eq(
    $$ select * from reached_by('mana_payments') $$,
    $$
    values
    ('payments.customers',     'mana_payments',  '10000', '1xxxx', '10000', '-----'),
    ('payments.orders',        'mana_payments',  '10000', '1xxxx', '10000', '-----'),
    ('payments.refunds',       'mana_payments',  '10000', '1xxxx', '10000', '-----'),
    ('payments.objects',       'mana_payments',  '11111', '11111', '-----', '-----'),
    ('payments.tasks',         'mana_payments',  '11111', '11111', '11111', '-----'),
    ('payments.events',        'mana_payments',  '11111', '11111', '-----', '-----'),
    ('payments.settings',      'mana_payments',  '11111', '-----', '11111', '-----')
    $$,
    'mana_payments reaches the purchases of the user it acts for, and all that finds out who that is'
);

select set_eq(
    $$ select * from reached_by('mana_auditor') $$,
    $$
    values
    ('credits.balances',       'mana_auditor',   '11111', '-----', '-----', '-----'),
    ('credits.transactions',   'mana_auditor',   '11111', '-----', '-----', '-----'),
    ('credits.ledger_entries', 'mana_auditor',   '11111', '-----', '-----', '-----'),
    ('credits.ledger_checks',  'mana_auditor',   '11111', '11111', '11111', '-----'),
    ('credits.causes',         'mana_auditor',   '11111', '-----', '-----', '-----'),
    ('credits.purchases',      'mana_auditor',   '11111', '-----', '-----', '-----'),
    ('payments.orders',        'mana_auditor',   '11111', '-----', '-----', '-----'),
    ('credits.settings',       'mana_auditor',   '11111', '-----', '-----', '-----'),
    ('auth.users',             'mana_auditor',   '11111', '-----', '-----', '-----')
    $$,
    'mana_auditor reads the books of everybody and writes what it found'
);

select set_eq(
    $$ select relation, "select", "insert", "update", "delete" from reached_by('mana_owner') $$,
    $$
    select relation::text, '00000' as "select", 'xxxxx' as "insert",
           case relation::text when 'credits.ledger_entries' then '-----' else '00000' end as "update",
           case when relation::text in ('credits.ledger_entries', 'credits.transactions')
                then '-----' else '00000' end as "delete"
      from tables
    $$,
    'mana_owner owns every table and reaches no row, because row-level security is forced'
);

select is_empty(
    $$ select r.*
         from unnest(array['mana_api', 'mana_gateway', 'mana_worker', 'mana_backend', 'mana_reader']) as client
       cross join lateral reached_by(client) as r $$,
    'no client reaches a table'
);

select * from finish();
rollback;
