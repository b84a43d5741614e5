-- api.list_transactions. What is listed is in credits/list_transactions.sql.
begin;
\ir ../../setup.psql
select plan(19);

select make_users('ada', 'bob');
do $$
begin
    perform auth.act_as(tap.id_of('ada'));
    perform credits.use_credits(n, case n when 1 then 'draw' else 'chat' end, 'Question ' || n, 'key-' || n % 3) from generate_series(1, 4) as n;
    perform auth.begin_anonymous_request('');
end
$$;

create function tap.list(
    p_name text, p_limit int default 50, p_offset int default 0, p_before uuid default null,
    p_type credits.transaction_type default null, p_app_id text default null, p_key text default null
)
returns api.reply
language sql
as $$
    select api.list_transactions(
        id_of(p_name), claims_of(p_name), null, p_limit, p_offset, p_before, p_type, p_app_id, p_key
    )
$$;

create function tap.amounts(p_body json) returns int[] language sql as $$
    select coalesce(array_agg((t ->> 'amount')::int), '{}') from json_array_elements(p_body) as t
$$;

set local role mana_gateway;

-- The owner
select status, body, headers is null as no_headers, body -> 4 ->> 'id' as id from list('ada') \gset
select is(:status, 200, 'listing answers 200');
select is(amounts(:'body'), array[-4, -3, -2, -1, 150], 'with an array, the newest first');
select is(
    :'body'::jsonb -> 4,
    jsonb_build_object(
        'id', :'id', 'userId', id_of('ada'), 'type', 'bonus', 'status', 'completed', 'amount', 150,
        'balanceBefore', 0, 'balanceAfter', 150, 'appId', null, 'description', 'Signup bonus', 'metadata', null,
        'idempotencyKey', null, 'createdAt', '2030-01-01T00:00:00.000Z', 'completedAt', '2030-01-01T00:00:00.000Z'
    ),
    'of transactions with all their fields, null where there is nothing'
);
select is(:'no_headers'::boolean, true, 'and no header when that is all');

select body, headers::text as headers, headers ->> 'X-Next-Before' as next from list('ada', 2) \gset
select is(amounts(:'body'), array[-4, -3], 'a page is as long as asked for');
select is(
    :'headers'::jsonb, jsonb_build_object('X-Next-Before', :'body'::json -> 1 ->> 'id'),
    'and says where the next begins'
);
select body, headers ->> 'X-Next-Before' as next from list('ada', 2, p_before => :'next') \gset
select is(amounts(:'body'), array[-2, -1], 'the next page goes on from there');
select is(
    (select (amounts(body), headers)::text from list('ada', 1, p_before => :'next')), (array[150], null::json)::text,
    'the last page has no next one, also when it is full'
);
select is(
    (select (amounts(body), headers is null)::text from list('ada', 1, 1, p_type => 'usage', p_app_id => 'chat')),
    (array[-3], false)::text, 'offset, type and app are passed on'
);
select body, headers is null as no_headers from list('ada', p_key => 'key-1') \gset
select is((amounts(:'body'), :'no_headers'::boolean)::text, (array[-4, -1], true)::text, 'a key finds its transactions, a list');
select is((select amounts(body) from list('ada', p_key => 'key-1', p_app_id => 'chat')), array[-4], 'in one app the one');
select is(
    (select amounts(body) from list('ada', 1, 1, p_key => 'key-1', p_type => 'usage')), array[-1],
    'limit, offset and type count for these as well'
);
select is((select amounts(body) from list('ada', p_key => 'key-1', p_type => 'bonus')), '{}', 'there is none of another type');
select is(
    (select amounts(body) from list('ada', p_key => 'key-1', p_before => :'next')), '{}',
    'nor one that is not older than the last one seen'
);
select is((select amounts(body) from list('ada', 100)), array[-4, -3, -2, -1, 150], 'a limit of 100 is taken');
select refused_ok(
    format('select list(%L, %s)', 'ada', limits),
    'PT400', 'invalid_request', 'limit: must be a whole number from 1 to 100.', description
)
  from (values (101, 'one of 101 is refused'), (0, 'one of 0 is refused'), (2147483647, 'so is the largest integer'))
    as c (limits, description);

-- Another user
select is((select amounts(body) from list('bob', p_before => :'next')), array[150], 'another user sees other ones');

select * from finish();
rollback;
