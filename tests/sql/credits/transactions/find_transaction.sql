-- credits.find_transaction
begin;
\ir ../../alone.psql
\ir ../../setup.psql
select plan(10);

select make_users('ada', 'bob');

create function tap.found(p_key text, p_app_id text default null) returns bigint[] language sql as $$
    select array(select amount from credits.find_transaction(p_key, p_app_id))
$$;

set local role mana_backend;


-- Anonymous

select refused_ok(
    $$ select credits.find_transaction('order-1') $$, 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user there is nothing to find'
);


-- The owner

select auth.act_as(id_of('bob'));
select credits.use_credits(99, 'chat', 'Of another user', 'order-1');
select auth.act_as(id_of('ada'));
select credits.use_credits(1, 'chat', 'First', 'order-1');
select credits.use_credits(2, 'draw', 'Next', 'order-1');
select credits.use_credits(3, 'chat', 'Another key', 'order-2');
select credits.use_credits(4, 'chat', 'No key');

select is(found('order-2'), array[-3]::bigint[], 'a key finds its transaction');
select is(found('order-1', 'draw'), array[-2]::bigint[], 'in one app');
select is(found('order-1'), array[-2, -1]::bigint[], 'or in each, the newest first, and none of another user');
select is(found('order-3'), '{}', 'an unknown key finds none');
select is(found('order-2', 'draw'), '{}', 'nor does one that another app has used');
select is(found(null), '{}', 'no key is no key of what has none');
select results_eq(
    $$ select * from credits.find_transaction('order-2') $$, $$ select * from credits.list_transactions(1, 1) $$, 'it is shown as in a list'
);


-- A backend

reset role;
create role tap_draw login in role mana_backend;
select credits.bind_backend('tap_draw', '{draw}');
set local session authorization tap_draw;
select auth.act_as(id_of('ada'));
select is(found('order-1'), array[-2]::bigint[], 'a backend that is bound to an app finds what is of that app');
select is(found('order-1', 'chat'), '{}', 'whatever app it asks for');

select * from finish();
rollback;
