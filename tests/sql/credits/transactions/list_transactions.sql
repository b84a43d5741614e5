-- credits.list_transactions
begin;
\ir ../../setup.psql
select plan(32);

select make_users('ada', 'bob');

create function tap.invalid_ok(p_arguments text, p_detail text, p_description text) returns text language sql as $$
    select refused_ok(
        format('select credits.list_transactions(%s)', p_arguments), 'PT400', 'invalid_request', p_detail, p_description
    )
$$;

-- The amounts of a page, in its order.
create function tap.page(
    p_limit int default 50, p_offset int default 0, p_before uuid default null,
    p_type credits.transaction_type default null, p_app_id text default null
)
returns bigint[]
language sql
as $$
    select coalesce(array_agg(t.amount), '{}')
      from credits.list_transactions(p_limit, p_offset, p_before, p_type, p_app_id) as t
$$;

set local role mana_backend;


-- Anonymous

select refused_ok(
    'select credits.list_transactions()', 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user there is nothing to list'
);


-- The owner

select auth.act_as(id_of('bob'));
select credits.use_credits(99, 'chat', 'Of another user');
select auth.act_as(id_of('ada'));
select credits.use_credits(1, 'chat', 'First', 'k-1', '{"a": 1}');
select credits.use_credits(2, 'draw', 'Second');
select give_paid('ada', 30);
select credits.use_credits(3, 'chat', 'Third');
select credits.use_credits(4, 'draw', 'Fourth');
select ledger_is_sound();

select is(page(), array[-4, -3, 30, -2, -1, 150]::bigint[], 'all of them, the newest first');
select is(page(p_limit => 2), array[-4, -3]::bigint[], 'as many as asked for');
select is(page(p_limit => 2, p_offset => 3), array[-2, -1]::bigint[], 'after as many as were left out');
select is(page(p_offset => 6), '{}', 'none after the last');
select is(page(p_offset => 10000), '{}', 'nor far beyond it');
select is(page(p_type => 'usage'), array[-4, -3, -2, -1]::bigint[], 'of one type');
select is(page(p_type => 'refund'), '{}', 'a type without transactions gives an empty list');
select is(page(p_app_id => 'chat'), array[-3, -1]::bigint[], 'of one app');
select is(page(p_app_id => 'CHAT'), '{}', 'an app is named exactly');
select is(page(p_type => 'bonus', p_app_id => 'chat'), '{}', 'type and app together');

select id from credits.list_transactions(p_limit => 1, p_offset => 2) \gset third_
select is(page(p_before => :'third_id'), array[-2, -1, 150]::bigint[], 'before one that was seen');
select is(page(p_limit => 1, p_before => :'third_id'), array[-2]::bigint[], 'as many as asked for');
select is(
    page(p_before => :'third_id', p_type => 'usage', p_app_id => 'draw'), array[-2]::bigint[], 'with type and app'
);
select is(page(p_offset => 1, p_before => :'third_id'), array[-1, 150]::bigint[], 'and with some left out');
select is(page(p_before => '00000000-0000-0000-0000-000000000000'), '{}', 'none before the first of all ids');
select is(cardinality(page(p_before => 'ffffffff-ffff-ffff-ffff-ffffffffffff')), 6, 'all before the last of all ids');

-- Walking through with the cursor sees each once, also when one is added on the way.
select id from credits.list_transactions(p_limit => 1, p_offset => 1) \gset second_
select credits.use_credits(5, 'chat', 'In between');
select is(page(p_before => :'second_id'), array[30, -2, -1, 150]::bigint[], 'a new one does not shift the pages');

select is(
    (select to_jsonb(t) - 'id' from credits.list_transactions(p_limit => 1, p_offset => 5) as t),
    jsonb_build_object(
        'user_id', id_of('ada'), 'type', 'usage', 'status', 'completed', 'amount', -1,
        'balance_before', 150, 'balance_after', 149, 'app_id', 'chat', 'description', 'First',
        'metadata', json_build_object('a', 1), 'idempotency_key', 'k-1',
        'created_at', '2030-01-01T00:00:00.000002+00:00', 'completed_at', '2030-01-01T00:00:00.000002+00:00',
        'balance', 0, 'free_credits_remaining', 149, 'total_spent', 1, 'version', 2, 'replayed', false
    ),
    'a transaction is listed as its receipt was'
);


-- The owner: invalid input

select invalid_ok(limits, 'limit: must be a whole number from 1 to 100.', description)
  from (values
      ('null', 'no limit is refused'),
      ('0', 'a limit of 0 is refused'),
      ('-1', 'a negative limit is refused'),
      ('101', 'a limit over 100 is refused')
  ) as c (limits, description);
select invalid_ok('50, ' || offsets, 'offset: must be a whole number from 0 to 10000.', description)
  from (values
      ('null', 'no offset is refused'),
      ('-1', 'a negative offset is refused'),
      ('10001', 'an offset over 10,000 is refused')
  ) as c (offsets, description);
select is(cardinality(page(p_limit => 100)), 7, 'a limit of 100 is taken');


-- Another user

select auth.act_as(id_of('bob'));
select is(page(), array[-99, 150]::bigint[], 'another user sees other ones');
select is(page(p_before => :'second_id'), array[-99, 150]::bigint[], 'also before one of mine');

select count(*) from (select credits.use_credits(1, 'chat', 'One of many') from generate_series(1, 51)) as spends;
select is(
    (select array_agg(id) from credits.list_transactions()),
    (select array_agg(id) from credits.list_transactions(p_limit => 50, p_offset => 0)),
    'without being told otherwise, it is the newest fifty'
);


-- What it costs: from the cursor's place, not from the start

reset role;
set local enable_seqscan = off;
create function tap.plan_of(p_sql text) returns setof text language plpgsql as $$
begin
    return query execute 'explain (costs off) ' || p_sql;
end
$$;
select matches(
    (select string_agg(line, ' ')
       from plan_of(format(
           'select * from credits.transactions where user_id = %L and id < %L order by id desc limit 50',
           id_of('ada'), :'second_id'
       )) as line),
    '^Limit\s+->  Index Scan Backward using transactions_pkey on transactions\s+Index Cond: .*user_id = .*id < ',
    'a page is read from the index, from the cursor on and without a sort'
);

select * from finish();
rollback;
