-- credits.use_credits with an idempotency key: a retry is answered, not charged.
begin;
\ir ../../setup.psql
select plan(30);

select make_users('ada', 'bob');

create function tap.spent(p_name text) returns bigint language sql security definer as $$
    select total_spent from credits.balances where user_id = tap.id_of(p_name)
$$;

create function tap.use(
    p_amount bigint default 10, p_app_id text default 'chat', p_description text default 'A question',
    p_metadata jsonb default '{"model": "large", "words": {"in": 1, "out": 2}}', p_expected_version bigint default null
)
returns jsonb
language sql
as $$
    select to_jsonb(r)
      from credits.use_credits(p_amount, p_app_id, p_description, 'k-1', p_metadata, p_expected_version) as r
$$;

create function tap.reused_ok(p_call text, p_description text) returns text language sql as $$
    select refused_ok(
        'select ' || p_call, 'PT422', 'idempotency_key_reused', 'This idempotency key was used for another request.',
        p_description
    )
$$;

set local role mana_backend;


-- The owner: the same request again

select auth.act_as(id_of('ada'));
select use() as first \gset
select is(use(), :'first'::jsonb || '{"replayed": true}', 'a retry gets the first receipt, marked as replayed');
select is(spent('ada'), 10::bigint, 'and is not charged');
select is(count(distinct use()), 1::bigint, 'eight retries get one receipt') from generate_series(1, 8);
select is(spent('ada'), 10::bigint, 'and none is charged');
select is(
    use(p_metadata => '{"words": {"out": 2, "in": 1}, "model": "large"}'), :'first'::jsonb || '{"replayed": true}',
    'the order of metadata''s keys makes no difference'
);
select is(
    use(p_expected_version => 1), :'first'::jsonb || '{"replayed": true}',
    'a retry brings the version of before, which is no conflict'
);
select ledger_is_sound();

-- Later
select credits.use_credits(20, 'chat', 'Another question', 'k-2');
select give_paid('ada', 1000);
select is(
    use(), :'first'::jsonb || '{"replayed": true}',
    'a retry after later movements gets the first receipt, with the balance as it was then'
);
select credits.use_credits(1120, 'chat', 'All the rest');
select is(use(), :'first'::jsonb || '{"replayed": true}', 'so does a retry that could not be paid for any more');
select set_clock('2040-01-01 00:00Z');
select is(use(), :'first'::jsonb || '{"replayed": true}', 'and a retry after ten years: a key lasts for ever');
select ledger_is_sound();


-- The owner: another request

select reused_ok('use(p_amount => 11)', 'the key with another amount is refused');
select reused_ok('use(p_description => ''a question'')', 'the key with another description is refused');
select reused_ok('use(p_metadata => ''{}'')', 'the key with other metadata is refused');
select reused_ok('use(p_metadata => null)', 'the key without the metadata is refused');
select reused_ok('use(p_amount => 1000000)', 'that is said before too few credits');
select reused_ok('use(p_amount => 11, p_expected_version => 0)', 'and before another version');
select ledger_is_sound();


-- Another user

select set_clock('2030-01-01 00:00Z');
select auth.act_as(id_of('bob'));
select is(
    (select (r ->> 'user_id', r ->> 'replayed', r ->> 'balance_after')::text from use() as r),
    format('(%s,false,140)', id_of('bob')), 'another user''s same key is nothing to me'
);
select is(spent('bob'), 10::bigint, 'my spend is charged');
select ledger_is_sound();


-- Another app

select is(
    (select (r ->> 'replayed', r ->> 'balance_after')::text from use(p_app_id => 'chat2') as r), '(false,130)',
    'another app''s same key is nothing to this one'
);
select is(
    (select (r ->> 'replayed', r ->> 'balance_after')::text from use(p_app_id => 'chat2') as r), '(true,130)',
    'and is its own retry'
);
select is(spent('bob'), 20::bigint, 'each is charged once');
select ledger_is_sound();


-- A request that was refused

select refused_ok(
    $$ select credits.use_credits(1000, 'chat', 'A book', 'k-3') $$,
    'PT402', 'insufficient_credits', 'Insufficient credits: 1000 required, 130 available.',
    'a spend is refused'
);
select give_paid('bob', 1000);
select is(
    (select (amount, replayed)::text from credits.use_credits(1000, 'chat', 'A book', 'k-3')), '(-1000,f)',
    'a refusal is not stored: the retry is decided again'
);
select is(
    (select (amount, replayed)::text from credits.use_credits(1, 'chat', 'A word')), '(-1,f)', 'without a key'
);
select is(
    (select (amount, replayed)::text from credits.use_credits(1, 'chat', 'A word')), '(-1,f)',
    'the same request is another spend'
);
select ledger_is_sound();

select * from finish();
rollback;
