-- credits.list_purchases
begin;
\ir ../../setup.psql
select plan(5);

select make_users('ada', 'bob', 'cleo');
insert into credits.purchases (user_id, id, credits, price_euro_cents, stripe_payment_intent_id, status, created_at)
select id_of(name), base.uuid_v7(at), amount, 100, label, 'completed', at
  from (values
      ('ada', 100, 'first',  '2030-01-01 00:00Z'::timestamptz),
      ('ada', 200, 'third',  '2030-01-03 00:00Z'),
      ('ada', 300, 'second', '2030-01-02 00:00Z'),
      ('bob', 400, 'first',  '2030-01-01 00:00Z')
  ) as p (name, amount, label, at);

set local role mana_backend;

-- Anonymous
select refused_ok(
    'select credits.list_purchases()', 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user there is nothing to list'
);

-- The owner
select auth.act_as(id_of('ada'));
select results_eq(
    'select stripe_payment_intent_id, credits from credits.list_purchases()',
    $$ values ('third', 200::bigint), ('second', 300), ('first', 100) $$,
    'my purchases, the newest first'
);

-- Another user
select auth.act_as(id_of('bob'));
select results_eq(
    'select stripe_payment_intent_id, credits from credits.list_purchases()', $$ values ('first', 400::bigint) $$,
    'another user sees other ones, also with the same payment'
);
select auth.act_as(id_of('cleo'));
select is_empty('select from credits.list_purchases()', 'and who bought nothing sees none');

-- A long list
reset role;
insert into credits.purchases (user_id, id, credits, price_euro_cents, stripe_payment_intent_id, status, created_at)
select id_of('cleo'), base.uuid_v7(at), 1, 100, 'number ' || number, 'completed', at
  from (
      select number, '2030-01-01 00:00Z'::timestamptz + number * interval '1 minute' as at
        from generate_series(1, 1001) as number
  ) as p;
set local role mana_backend;
select results_eq(
    'select count(*), max(stripe_payment_intent_id), bool_and(stripe_payment_intent_id <> ''number 1'')'
    ' from credits.list_purchases()',
    $$ values (1000::bigint, 'number 999', true) $$, 'of 1,001 the oldest is not shown'
);

select * from finish();
rollback;
