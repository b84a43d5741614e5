-- credits.page_of_transactions: where a page ends, and where the next one begins. What is on it is in
-- list_transactions.sql.
begin;
\ir ../../alone.psql
\ir ../../setup.psql
select plan(14);

select make_users('ada', 'bob');

-- The amounts of a page, and of the one on its next page.
create function tap.page(
    p_limit int default 50, p_before uuid default null, p_type credits.transaction_type default null,
    p_app_id text default null, p_read int default null, out amounts bigint[], out next text
)
language sql
as $$
    select array(select t.amount from unnest(p.page) as t), coalesce(p.next_before::text, 'none')
      from credits.page_of_transactions(p_limit, 0, p_before, p_type, p_app_id, p_read) as p
$$;

set local role mana_backend;


-- Anonymous

select refused_ok(
    'select credits.page_of_transactions()', 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user there is nothing to list'
);


-- The owner

select auth.act_as(id_of('bob'));
select credits.use_credits(99, 'chat', 'Of another user');
select auth.act_as(id_of('ada'));
select credits.use_credits(1, 'draw', 'First');
select count(*) from (select credits.use_credits(n, 'chat', 'Next') from generate_series(2, 9) as n) as spends;

select amounts, next from page(p_limit => 10) \gset
select is(:'amounts'::text, array[-9, -8, -7, -6, -5, -4, -3, -2, -1, 150]::bigint[]::text, 'all on one page');
select is(:'next'::text, 'none'::text, 'which is full and the last');
select amounts, next from page(p_limit => 9) \gset
select is(
    (select amounts from page(p_before => :'next')), array[150]::bigint[], 'the next begins behind the last one shown'
);


-- A filter reads so many, and goes on behind them

select refused_ok(
    $$ select credits.page_of_transactions(p_app_id => 'draw', p_read => 0) $$,
    'PT400', 'invalid_request', 'read: must be a whole number from 1.', 'a filter that may read nothing is refused'
);
select amounts, next from page(p_app_id => 'draw', p_read => 4) \gset
select is(:'amounts'::text, '{}'::text, 'a filter that finds nothing in what it may read shows nothing');
select amounts, next from page(p_app_id => 'draw', p_read => 4, p_before => :'next') \gset
select is(:'amounts'::text, '{}'::text, 'nor in the next part');
select amounts, next from page(p_app_id => 'draw', p_read => 4, p_before => :'next') \gset
select is(:'amounts'::text, '{-1}'::text, 'until it comes to what it looks for');
select is(:'next'::text, 'none'::text, 'and the rest has no next page');
select is(
    (select (amounts, next = 'none')::text from page(p_type => 'bonus', p_read => 10)), (array[150]::bigint[], true)::text,
    'what is read to its end has no next page'
);
select is(
    (select (amounts, next = 'none')::text from page(p_limit => 10, p_read => 4)),
    (array[-9, -8, -7, -6, -5, -4, -3, -2, -1, 150]::bigint[], true)::text, 'without a filter as many are read as are shown'
);


-- Metadata of before it was bounded

reset role;
alter table credits.transactions drop constraint transactions_metadata_is_bounded;
insert into credits.transactions (
    user_id, id, type, amount, balance_before, balance_after, free_after, total_spent_after, version, description,
    metadata, created_at
)
select id_of('ada'), ('ffffffff-0000-7000-8000-00000000000' || n)::uuid, 'usage', -n, 1000, 1000 - n, 0, 0, 1000 + n, 'old',
       jsonb_build_object('a', repeat('x', case n when 4 then 700000 else 200000 end)), base.clock()
  from generate_series(1, 4) as n;
set local role mana_backend;
select auth.act_as(id_of('ada'));

select amounts, next from page() \gset
select is(:'amounts'::text, '{-4}'::text, 'a transaction with much metadata is a page of its own');
select amounts, next from page(p_before => :'next') \gset
select is(:'amounts'::text, '{-3,-2}'::text, 'a page ends before its metadata has more than 500,000 bytes');
select is(
    (select amounts[1:2] from page(p_before => :'next')), array[-1, -9]::bigint[], 'and the next goes on behind it'
);

select * from finish();
rollback;
