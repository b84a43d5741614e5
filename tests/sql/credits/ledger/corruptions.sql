-- credits.verify_ledger against every corruption that the catalog lets one think of: each column of the
-- three tables set to null, to a neighbour's value and to another legal value; each row deleted and
-- doubled; users and tables gone. Constraints and triggers are out of the way. What is not named has
-- to be in the list of what cannot be seen from inside, and what is in the list must not be named. A
-- new column is tried as well.
begin;
\ir ../../alone.psql
\ir ../../setup.psql
select plan(10);

-- Two users who do the same on other days: bonus, purchase, daily grant, spends from one and from two
-- parts. Amounts differ, so that a neighbour's value is another one.
select make_users('ada');
select set_clock('2030-01-01 07:00Z');
select make_users('bob');
select give_paid('ada', 30), give_paid('bob', 40);
select set_clock('2030-01-03 09:00Z');
select auth.act_as(id_of('ada'));
select credits.use_credits(160, 'chat', 'A question', 'ada-1', '{"model": 1}');
select credits.use_credits(2, 'chat', 'Another question', 'ada-2', '{"model": 2}');
select auth.act_as(id_of('bob'));
select credits.use_credits(170, 'draw', 'A picture', 'bob-1', '{"size": 3}');
select credits.use_credits(3, 'draw', 'Another picture', 'bob-2', '{"size": 4}');
reset role;
select set_config('request.jwt.claims', '', true);

do $$
declare
    v_statement text;
begin
    for v_statement in
        select format('alter table %s drop constraint %I', c.conrelid::regclass, c.conname)
          from pg_constraint as c
         where c.connamespace in ('credits'::regnamespace, 'payments'::regnamespace)
           and c.conrelid <> 'credits.ledger_checks'::regclass
         order by c.contype <> 'f'
    loop
        execute v_statement;
    end loop;
    for v_statement in
        select format('alter table %s alter column %I drop not null', a.attrelid::regclass, a.attname)
          from pg_attribute as a
         where a.attrelid in ('credits.balances'::regclass, 'credits.transactions'::regclass,
                              'credits.ledger_entries'::regclass)
           and a.attnum > 0 and a.attnotnull and not a.attisdropped
    loop
        execute v_statement;
    end loop;
end
$$;
drop index credits.transactions_one_per_key_of_an_app, credits.transactions_one_grant_per_window;
set local session_replication_role = replica;

-- Whether verify_ledger names what a statement has done, which is then taken back.
create function tap.is_named(p_statement text)
returns boolean
language plpgsql
as $$
begin
    execute p_statement;
    raise sqlstate 'TAP00' using message = exists (select from credits.verify_ledger());
exception
    when sqlstate 'TAP00' then
        return sqlerrm::boolean;
end
$$;

-- Each row of ada, and what it is about.
create table tap.targets as
select 'credits.balances'::regclass as relation, ctid as place, 'balance' as kind
  from credits.balances where user_id = id_of('ada')
union all
select 'credits.transactions', ctid, type::text
  from credits.transactions where user_id = id_of('ada')
union all
select 'credits.ledger_entries', e.ctid, t.type::text
  from credits.ledger_entries as e
  join credits.transactions as t on t.user_id = e.user_id and t.id = e.transaction_id
 where e.user_id = id_of('ada');

-- Other values of a type, as expressions of the value v.
create table tap.legal_values (type regtype, expression text);
insert into tap.legal_values
values ('smallint', '3 - v'), ('int', 'coalesce(v + 1, 0)'), ('int', 'v - 1'), ('bigint', 'coalesce(v + 1, 1)'),
       ('bigint', 'v - 1'), ('uuid', 'gen_random_uuid()'), ('jsonb', '''{"another": 1}''::jsonb'),
       ('text', 'coalesce(v || ''x'', ''x'')'),
       ('timestamptz', 'v + interval ''1 microsecond'''), ('timestamptz', 'v - interval ''1 day'''),
       ('timestamptz', 'v + interval ''1 day''');
insert into tap.legal_values
select enumtypid, quote_literal(enumlabel) || '::' || enumtypid::regtype
  from pg_enum
 where enumtypid in ('credits.transaction_type'::regtype, 'credits.transaction_status'::regtype,
                     'credits.account'::regtype);

create table tap.columns as
select attrelid::regclass as relation, attname as name, atttypid::regtype as type
  from pg_attribute
 where attrelid in (select relation from tap.targets) and attnum > 0 and not attisdropped;

select is_empty(
    'select * from columns where type not in (select type from legal_values)',
    'another legal value is known for the type of each column'
);

create table tap.changes as
select c.relation, c.name, v.change, t.kind,
       format('update %1$s as t set %2$I = x.changed'
              ' from (select %3$s as changed from (select %2$I as v from %1$s where ctid = %4$L) as v) as x'
              ' where t.ctid = %4$L', c.relation, c.name, v.expression, t.place) as statement,
       format('select (%3$s) is distinct from v and ((%3$s) is null) = %5$L from (select %2$I as v from %1$s where ctid = %4$L) as v',
              c.relation, c.name, v.expression, t.place, v.change = 'null') as differs
  from tap.columns as c
  join tap.targets as t on t.relation = c.relation
 cross join lateral (
     select 'null', format('null::%s', c.type)
     union all
     select 'the same user''s',
            format('(select n.%I from %s as n where n.user_id = %L and n.%1$I is distinct from v and n.%1$I is not null limit 1)',
                   c.name, c.relation, id_of('ada'))
     union all
     select 'another user''s',
            format('(select n.%I from %s as n where n.user_id = %L and n.%1$I is distinct from v and n.%1$I is not null limit 1)',
                   c.name, c.relation, id_of('bob'))
     union all
     select 'another', l.expression from tap.legal_values as l where l.type = c.type
 ) as v (change, expression);

-- Whether a change is one: a neighbour may have the same value, or none.
create function tap.is_another(p_change tap.changes) returns boolean language plpgsql as $$
declare
    v_is_another boolean;
begin
    execute p_change.differs into v_is_another;
    return v_is_another;
end
$$;
delete from tap.changes as c where not is_another(c);

-- What cannot be seen from inside, in which rows, and what sees it instead.
create table tap.unseen (relation regclass, name name, change text, kinds text, seen_by text);
insert into tap.unseen
values
    -- Free text: the auditor may not read it, and no other stored fact repeats it.
    ('credits.transactions', 'description', 'null', 'bonus purchase usage', 'NOT NULL; a restored backup'),
    ('credits.transactions', 'description', 'the same user''s', 'bonus purchase usage', 'a restored backup'),
    ('credits.transactions', 'description', 'another user''s', 'bonus purchase usage', 'a restored backup'),
    ('credits.transactions', 'description', 'another', 'bonus purchase usage', 'a restored backup'),
    ('credits.transactions', 'metadata', 'null', 'usage', 'a restored backup'),
    ('credits.transactions', 'metadata', 'the same user''s', 'bonus purchase usage', 'a restored backup'),
    ('credits.transactions', 'metadata', 'another user''s', 'bonus purchase usage', 'a restored backup'),
    ('credits.transactions', 'metadata', 'another', 'bonus purchase usage', 'a restored backup'),
    -- What is held is no movement.
    ('credits.balances', 'held', 'another', 'balance', 'a restored backup'),
    -- Which app it was and which key it had is said once. A usage has an app, a bonus neither.
    ('credits.transactions', 'app_id', 'the same user''s', 'purchase', 'a restored backup'),
    ('credits.transactions', 'app_id', 'another user''s', 'purchase usage', 'a restored backup'),
    ('credits.transactions', 'app_id', 'another', 'purchase usage', 'a restored backup'),
    ('credits.transactions', 'idempotency_key', 'null', 'usage', 'a restored backup'),
    ('credits.transactions', 'idempotency_key', 'the same user''s', 'purchase', 'a restored backup'),
    ('credits.transactions', 'idempotency_key', 'another user''s', 'purchase usage', 'a restored backup'),
    ('credits.transactions', 'idempotency_key', 'another', 'purchase usage', 'a restored backup'),
    -- A database transaction may write before it waits for a balance: no order in an account.
    ('credits.ledger_entries', 'xact_id', 'null', 'bonus purchase usage', 'a follower of the ledger'),
    ('credits.ledger_entries', 'xact_id', 'another', 'bonus purchase usage', 'a follower of the ledger');

select is_empty('select * from credits.verify_ledger()', 'the ledger is sound before anything is changed');

select set_eq(
    $$ select relation::text, name::text, change, string_agg(distinct kind, ' ' order by kind)
         from changes
        where not is_named(statement)
        group by 1, 2, 3 $$,
    'select relation::text, name::text, change, kinds from unseen',
    'a column that is changed is named, but for what is in the list; and nothing that is in it is named'
);
select cmp_ok((select count(*) from tap.changes), '>', 500::bigint, 'there were hundreds of changes');


-- Rows

select is_empty(
    $$ select t.* from targets as t where not is_named(format('delete from %s where ctid = %L', t.relation, t.place)) $$,
    'each row that is deleted is named'
);
select is_empty(
    $$ select t.* from targets as t
        where not is_named(format('insert into %1$s select * from %1$s where ctid = %2$L', t.relation, t.place)) $$,
    'each row that is there twice is named'
);


-- Users and tables

create function tap.without(p_relations text[], p_condition text) returns text language sql as $$
    select string_agg(
               format('delete from %s where %s in (%s)', r,
                      case r when 'auth.users' then 'id' else 'user_id' end, p_condition), '; '
           )
      from unnest(p_relations) as r
$$;

-- The last transaction as if it had never been.
create function tap.without_tail() returns text language sql as $$
    select format(
        'delete from credits.transactions where user_id = %1$L and version = %2$s;'
        ' delete from credits.ledger_entries where user_id = %1$L and transaction_id not in'
        ' (select id from credits.transactions);'
        ' update credits.balances as b'
        '    set (balance, free_credits_remaining, total_earned, total_spent, version, updated_at) ='
        '        (select balance_after - free_after, free_after, balance_after + total_spent_after,'
        '                total_spent_after, version, created_at'
        '           from credits.transactions where user_id = b.user_id and version = %2$s - 1)'
        '  where user_id = %1$L',
        user_id, version
    ) from credits.balances where user_id = id_of('ada')
$$;

create table tap.losses as
select what, statement
  from (values ('balances', array['credits.balances']), ('transactions', array['credits.transactions']),
               ('entries', array['credits.ledger_entries']),
               ('balances and transactions', array['credits.balances', 'credits.transactions']),
               ('balances and entries', array['credits.balances', 'credits.ledger_entries']),
               ('transactions and entries', array['credits.transactions', 'credits.ledger_entries']),
               ('books', array['credits.balances', 'credits.transactions', 'credits.ledger_entries']),
               ('books and users',
                array['credits.balances', 'credits.transactions', 'credits.ledger_entries', 'auth.users'])
       ) as l (losing, relations)
 cross join lateral (
     values ('the ' || losing || ' of all', without(relations, 'select user_id from people')),
            ('the ' || losing || ' of one', without(relations, format('select %L::uuid', id_of('ada'))))
 ) as x (what, statement)
union all
select 'the last transaction, and the balance set back', without_tail();

select set_eq(
    'select what from losses where not is_named(statement)',
    array['the books and users of all', 'the books and users of one', 'the last transaction, and the balance set back'],
    'whatever is gone is named, but what leaves the rest in agreement'
);

-- What was there when the books were last checked
select is_empty('select * from credits.check_ledger(p_full => true)', 'the first check finds nothing');
select is_empty(
    'select what from losses where not is_named(statement)',
    'after a check, rows that were there and are gone are named as well'
);
select is(
    is_named(without(
        array['credits.balances', 'credits.transactions', 'credits.ledger_entries', 'auth.users', 'credits.ledger_checks'],
        'select user_id from people'
    )),
    false, 'when the checks are gone, too, only the marks that mana maintain keeps outside are left'
);

select * from finish();
rollback;
