-- A trusted backend: a login role in the group mana_backend that spends next to its own rows.
begin;
\ir ../../setup.psql
select plan(11);

select make_users('ada', 'bob');
create role tap_shop login in role mana_backend;
create table tap.orders (id int primary key, user_id uuid not null, receipt uuid not null);
grant select, insert on tap.orders to tap_shop;

create function tap.state_of(p_name text) returns text language sql security definer as $$
    select format('%s, version %s, %s transactions, %s entries', free_credits_remaining, version,
                  (select count(*) from credits.transactions where user_id = tap.id_of(p_name)),
                  (select count(*) from credits.ledger_entries where user_id = tap.id_of(p_name)))
      from credits.balances
     where user_id = tap.id_of(p_name)
$$;

set local role tap_shop;

select throws_ok(
    $$ do $do$
       begin
           perform auth.act_as(tap.id_of('ada'));
           perform credits.use_credits(50, 'shop', 'Order 1', 'order-1');
           insert into tap.orders values (1, tap.id_of('ada'), null);
       end
       $do$ $$,
    '23502', null, 'when the backend''s own row is refused, all of it fails'
);
select is(state_of('ada'), '150, version 1, 1 transactions, 1 entries', 'and the spend with it');
select is(auth.uid(), null, 'and so is whom it worked for');

select auth.act_as(id_of('ada'));
select is(
    (select status::text from credits.use_credits(50, 'shop', 'Order 1', 'order-1')), 'completed', 'the backend spends'
);
insert into tap.orders select 1, user_id, id from credits.use_credits(50, 'shop', 'Order 1', 'order-1');
select is(
    state_of('ada'), '100, version 2, 2 transactions, 2 entries',
    'the key of what was rolled back is free, and then it is taken'
);
select is(
    (select count(*) from tap.orders as o join credits.list_transactions() as t on t.id = o.receipt), 1::bigint,
    'its row goes with the spend'
);
select refused_ok(
    $$ select credits.use_credits(101, 'shop', 'Order 2') $$,
    'PT402', 'insufficient_credits', 'Insufficient credits: 101 required, 100 available.',
    'short credits are an exception with its SQLSTATE'
);
select is(state_of('bob'), '150, version 1, 1 transactions, 1 entries', 'another user''s credits stay');
select ledger_is_sound();

select throws_ok(
    'select 1 from credits.balances', '42501', 'permission denied for table balances', 'it reaches no table'
);
select throws_ok(
    $$ select auth.log_in('ada@pgtap.invalid', 'digest', null, null, '7 days') $$,
    '42501', 'permission denied for function log_in', 'and nobody''s sessions'
);

select * from finish();
rollback;
