-- api.use_credits. What may be spent is in credits/use_credits.sql.
begin;
\ir ../../setup.psql
select plan(16);

select make_users('ada', 'bob');

create function tap.use(p_name text, p_amount bigint default 10, p_expected_version bigint default null)
returns api.reply
language sql
as $$
    select use_credits(
        id_of(p_name), claims_of(p_name), null, p_amount, 'chat', 'A question', 'k-1', '{"words": 2}',
        p_expected_version
    )
$$;

set local role mana_gateway;

-- The owner
select status, body, headers is null as no_headers, body -> 'transaction' ->> 'id' as id from use('ada') \gset
select is(:status, 200, 'a spend answers 200');
select is(
    :'body'::jsonb,
    jsonb_build_object(
        'success', true,
        'transaction', json_build_object(
            'id', :'id', 'userId', id_of('ada'), 'type', 'usage', 'status', 'completed', 'amount', -10,
            'balanceBefore', 150, 'balanceAfter', 140, 'appId', 'chat', 'description', 'A question',
            'metadata', json_build_object('words', 2), 'idempotencyKey', 'k-1',
            'createdAt', '2030-01-01T00:00:00.000Z', 'completedAt', '2030-01-01T00:00:00.000Z'
        ),
        'newBalance', json_build_object('balance', 0, 'freeCreditsRemaining', 140, 'totalSpent', 10, 'version', 2)
    ),
    'with the transaction and the new balance'
);
select is(:'no_headers'::boolean, true, 'and no header');

select is(
    (select (status, body::text, headers::text)::text from use('ada')),
    (200, :'body', '{"Idempotency-Replayed" : "true"}')::text,
    'a retry gets the same bytes, and the header of a replay'
);
select is(
    (select (status, body::text)::text from use('ada', 11)),
    (
        422,
        '{"code" : "idempotency_key_reused", "detail" : "This idempotency key was used for another request."}'
    )::text,
    'the key with another request is refused'
);

-- Another user
select is(
    (select (status, body::text)::text from use('bob', 151)),
    (
        402,
        '{"code" : "insufficient_credits", "detail" : "Insufficient credits: 151 required, 150 available.", '
        '"details" : {"required" : 151, "available" : 150}}'
    )::text,
    'an overdraft is refused with its numbers'
);
select is(
    (select (status, body::text)::text from use('bob', 1, 7)),
    (
        409, '{"code" : "version_conflict", "detail" : "The balance has changed. Read it again and decide again."}'
    )::text,
    'a version that is not the balance''s is refused'
);
select is(
    (select (status, body::text)::text from use('bob', 0)),
    (
        400, '{"code" : "invalid_request", "detail" : "amount: must be a whole number from 1 to 1000000000."}'
    )::text,
    'an amount of zero is refused'
);

-- A grant that finds a refusal stays
select set_clock('2030-01-02 00:00Z');
select is((select (status, events)::text from use('bob', 1000)), '(402,daily_grant=5)', 'so is an overdraft that finds a grant due');
select is(
    (select body ->> 'freeCreditsRemaining' from get_balance(id_of('bob'), claims_of('bob'), null)),
    '155', 'and the grant that it paid stays'
);
select set_clock('2030-01-03 00:00Z');
select is((select (status, events)::text from use('ada', 11)), '(422,daily_grant=5)', 'as it does after a reused key');
select is((select (status, events)::text from use('bob', 1, 1)), '(409,daily_grant=5)', 'after a version that has moved');
select set_clock('2030-01-04 00:00Z');
select is((select (status, events)::text from use('bob', 0)), '(400,daily_grant=5)', 'and after a request that is not valid');
select is((select status from use('bob', 166)), 402, 'one credit too many is refused');
select is((select status from use('bob', 165)), 200, 'none of the grants is lost');
select ledger_is_sound();

select * from finish();
rollback;
