-- credits.use_credits: spending. Retries are in credits/idempotency.sql, the grant that a spend
-- may pay first in credits/daily_grant.sql.
begin;
\ir ../../setup.psql
select plan(79);

select make_users('ada', 'bob', 'cleo', 'dora');
select give_paid('ada', 30);

create function tap.balance_of(p_name text) returns jsonb language sql security definer as $$
    select to_jsonb(b) - 'user_id' - 'created_at' - 'last_daily_reset_at' - 'updated_at'
      from credits.balances as b where user_id = tap.id_of(p_name)
$$;

-- The newest transaction's entries, as they are read in the books.
create function tap.last_entries(p_name text) returns setof text language sql security definer as $$
    select format('%s. %s from %s to %s', entry_no, amount, debit_account, credit_account)
      from credits.ledger_entries
     where user_id = tap.id_of(p_name)
       and transaction_id = (
           select id from credits.transactions where user_id = tap.id_of(p_name) order by id desc limit 1
       )
     order by entry_no
$$;

create function tap.invalid_ok(p_arguments text, p_detail text, p_description text) returns text language sql as $$
    select refused_ok(
        format('select credits.use_credits(%s)', p_arguments), 'PT400', 'invalid_request', p_detail, p_description
    )
$$;

create function tap.hold(p_name text, p_held bigint) returns void language sql security definer as $$
    update credits.balances set held = p_held where user_id = tap.id_of(p_name)
$$;
create function tap.short_ok(p_amount bigint, p_available bigint, p_description text) returns text language sql as $$
    select refused_ok(
        format('select credits.use_credits(%s, %L, %L)', p_amount, 'chat', 'A question'), 'PT402', 'insufficient_credits',
        format('Insufficient credits: %s required, %s available.', p_amount, p_available), p_description
    )
$$;

set local role mana_backend;


-- Anonymous

select refused_ok(
    $$ select credits.use_credits(1, 'chat', 'A question') $$, 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user nothing is spent'
);


-- The owner: free credits first

select auth.act_as(id_of('ada'));
select is(
    (select to_jsonb(r) - 'id' from credits.use_credits(
        p_amount => 100, p_app_id => 'chat', p_description => 'A question', p_idempotency_key => 'k-1',
        p_metadata => '{"model": "large"}', p_expected_version => 2
    ) as r),
    jsonb_build_object(
        'user_id', id_of('ada'), 'type', 'usage', 'status', 'completed', 'amount', -100,
        'balance_before', 180, 'balance_after', 80, 'app_id', 'chat', 'description', 'A question',
        'metadata', json_build_object('model', 'large'), 'idempotency_key', 'k-1',
        'created_at', '2030-01-01T00:00:00.000003+00:00', 'completed_at', '2030-01-01T00:00:00.000003+00:00',
        'balance', 30, 'free_credits_remaining', 50, 'total_spent', 100, 'version', 3, 'replayed', false
    ),
    'a spend takes free credits first and returns its receipt'
);
select results_eq(
    $$ select * from last_entries('ada') $$, array['1. 100 from free to usage'], 'one entry, from the free part'
);
select ledger_is_sound();

select is(
    (select (amount, balance_before, balance_after, balance, free_credits_remaining)::text
       from credits.use_credits(60, 'chat', 'A long question')),
    '(-60,80,20,20,0)', 'what free credits do not cover, paid ones do'
);
select results_eq(
    $$ select * from last_entries('ada') $$, array['1. 50 from free to usage', '2. 10 from paid to usage'],
    'two entries, one from each part'
);
select ledger_is_sound();

select is(
    (select (amount, balance_before, balance_after, balance, free_credits_remaining)::text
       from credits.use_credits(20, 'chat', 'A last question')),
    '(-20,20,0,0,0)', 'the exact balance can be spent'
);
select results_eq(
    $$ select * from last_entries('ada') $$, array['2. 20 from paid to usage'], 'one entry, from the paid part'
);
select is(
    balance_of('ada'),
    '{"balance": 0, "free_credits_remaining": 0, "held": 0, "total_earned": 180, "total_spent": 180, "version": 5}',
    'the balance row says the same'
);
select ledger_is_sound();


-- The owner: not enough

select refused_ok(
    $$ select credits.use_credits(1, 'chat', 'One more') $$,
    'PT402', 'insufficient_credits', 'Insufficient credits: 1 required, 0 available.',
    'an empty balance refuses a spend of 1'
);
select auth.act_as(id_of('bob'));
select refused_ok(
    $$ select credits.use_credits(151, 'chat', 'One too many') $$,
    'PT402', 'insufficient_credits', 'Insufficient credits: 151 required, 150 available.',
    'an overdraft of 1 is refused'
);
select give_paid('bob', 30);
select refused_ok(
    $$ select credits.use_credits(181, 'chat', 'One too many') $$,
    'PT402', 'insufficient_credits', 'Insufficient credits: 181 required, 180 available.',
    'an overdraft of both parts is refused'
);
select is(
    balance_of('bob'),
    '{"balance": 30, "free_credits_remaining": 150, "held": 0, "total_earned": 180, "total_spent": 0, "version": 2}',
    'a refusal changes nothing'
);
select ledger_is_sound();


-- The owner: invalid input, one field at a time

select invalid_ok(
    format('%s, %L, %L', amount, 'chat', 'A question'),
    'amount: must be a whole number from 1 to 1000000000.', description
)
  from (values
      ('null', 'no amount is refused'),
      ('0', 'an amount of 0 is refused'),
      ('-1', 'a negative amount is refused: nobody is paid for spending'),
      ('1000000001', 'an amount over 1000000000 is refused'),
      ('9223372036854775807', 'the largest bigint is refused'),
      ('-9223372036854775808', 'the smallest bigint is refused')
  ) as c (amount, description);
select invalid_ok(
    format('1, %L, %L', app_id, 'A question'),
    'app_id: must have 1 to 100 letters and digits of ASCII, with . _ - after the first.', description
)
  from (values
      (null, 'no app is refused'),
      ('', 'an empty app is refused'),
      (repeat('a', 101), 'an app of 101 characters is refused'),
      ('my app', 'an app with a blank is refused'),
      ('ada@example.com', 'so is an address'),
      ('chät', 'and a letter that is not of ASCII'),
      ('-chat', 'an app begins with a letter or a digit'),
      ('.', 'a dot alone is none'),
      (e'chat\n', 'a line end is no end')
  ) as c (app_id, description);
select lives_ok(format('select credits.use_credits(1, %L, %L)', app_id, 'A question'), app_id || ' is the name of an app')
  from (values ('chat'), ('Chat-2'), ('com.example.chat_app'), ('7')) as c (app_id);
select invalid_ok(
    format('1, %L, %L', 'chat', text), 'description: must have 1 to 500 characters.', description
)
  from (values
      (null, 'no description is refused'),
      ('', 'an empty description is refused'),
      (repeat('a', 501), 'a description of 501 characters is refused')
  ) as c (text, description);
select invalid_ok(
    format('1, %L, %L, %L', 'chat', 'A question', key), 'idempotency_key: must have 1 to 255 characters.', description
)
  from (values
      ('', 'an empty key is refused'), (repeat('a', 256), 'a key of 256 characters is refused')
  ) as c (key, description);
select invalid_ok(format('1, %L, %L', 'chat', text), 'description: must have a visible character.', description)
  from (values
      ('  ', 'a description of blanks is refused'), (e'\u200b\n', 'so is one that nobody sees')
  ) as c (text, description);
select invalid_ok(
    format('1, %L, %L, %L', 'chat', 'A question', e'k\u200b'),
    'idempotency_key: must have visible characters only, with blanks between them.',
    'a key with an invisible character is refused'
);
select invalid_ok(
    format('1, %L, %L, null, %L', 'chat', 'A question', metadata), 'metadata: must be an object.', description
)
  from (values
      ('null', 'metadata that is the JSON null is refused'), ('[]', 'an array as metadata is refused'),
      ('"a"', 'a string as metadata is refused')
  ) as c (metadata, description);
select invalid_ok(
    format('1, %L, %L, null, %L', 'chat', 'A question', jsonb_build_object('a', repeat('x', 4088))),
    'metadata: must have at most 4096 bytes as PostgreSQL writes it.', 'long metadata is refused'
);
select invalid_ok(
    '0, null, null, null, null, 999', 'amount: must be a whole number from 1 to 1000000000.',
    'what is invalid is said before anything else'
);
select is((balance_of('bob') ->> 'version')::int, 6, 'all of it changes nothing');

select lives_ok(
    format('select credits.use_credits(1, %L, %L, %L, %L)', repeat('a', 100), repeat('€', 500), repeat('ä', 255), '{}'),
    'characters are counted, not bytes, and the longest of everything is taken'
);
select refused_ok(
    $$ select credits.use_credits(1000000000, 'chat', 'A book') $$, 'PT402', 'insufficient_credits',
    'Insufficient credits: 1000000000 required, 175 available.', 'the largest amount that there is has only to be there'
);
select lives_ok($$ select credits.use_credits(1, 'c', 'd', 'k') $$, 'the shortest of everything is taken');
select lives_ok(
    $$ select credits.use_credits(174, 'chat', 'The rest') $$, 'so is the rest of the balance in one'
);
select ledger_is_sound();
reset role;
select throws_ok(
    format(
        $$ update credits.transactions set %s where user_id = %L $$, change, id_of('bob')
    ), '23514', null, description
)
  from (values
      ('metadata = jsonb_build_object(''a'', repeat(''x'', 4088))', 'the table itself bounds metadata'),
      ('app_id = ''my app''', 'and keeps the form of an app')
  ) as c (change, description);
set local role mana_backend;


-- The owner: the version that was decided upon

select auth.act_as(id_of('cleo'));
select refused_ok(
    format('select credits.use_credits(1, %L, %L, p_expected_version => %s)', 'chat', 'A question', version),
    'PT409', 'version_conflict', 'The balance has changed. Read it again and decide again.', description
)
  from (values
      (0, 'a version of before is refused'), (2, 'so is one that is still to come')
  ) as c (version, description);
select lives_ok(
    $$ select credits.use_credits(1, 'chat', 'A question', p_expected_version => 1) $$, 'the version that is, is taken'
);
select refused_ok(
    $$ select credits.use_credits(1000, 'chat', 'A question', p_expected_version => 1) $$,
    'PT409', 'version_conflict', 'The balance has changed. Read it again and decide again.',
    'an old version is said before too few credits'
);
select ledger_is_sound();


-- The owner: what is held, and debt

select give_paid('dora', 30), hold('dora', 40);
select auth.act_as(id_of('dora'));
select short_ok(141, 140, 'what is held cannot be spent');
select lives_ok($$ select credits.use_credits(140, 'chat', 'All of it') $$, 'all the rest can');
select is(
    balance_of('dora'),
    '{"balance": 30, "free_credits_remaining": 10, "held": 40, "total_earned": 180, "total_spent": 140, "version": 3}',
    'and leaves what is held in both parts'
);
select short_ok(1, 0, 'when all that is left is held, nothing is available');
select hold('dora', 0);
select lives_ok($$ select credits.use_credits(1, 'chat', 'A question') $$, 'what is no longer held can be spent');
select ledger_is_sound();

select move('dora', 'refund', 'refunds', 0, -50);
select short_ok(10, 9, 'debt does not lessen what is free, nor is it lent');
select lives_ok($$ select credits.use_credits(9, 'chat', 'The free ones') $$, 'debt leaves free credits to spend');
select results_eq(
    $$ select * from last_entries('dora') $$, array['1. 9 from free to usage'], 'one entry, from the free part'
);
select short_ok(1, 0, 'with debt and nothing free, 0 is available rather than less');
select hold('dora', 5);
select short_ok(1, 0, 'nor less when something is held as well');
select hold('dora', 0);
select give_paid('dora', 15);
select short_ok(1, 0, 'what comes in pays the debt first');
select give_paid('dora', 15);
select short_ok(11, 10, 'and what is left of it is available');
select lives_ok($$ select credits.use_credits(10, 'chat', 'A question') $$, 'and can be spent');
select is(
    balance_of('dora'),
    '{"balance": 0, "free_credits_remaining": 0, "held": 0, "total_earned": 210, "total_spent": 210, "version": 9}',
    'to the last credit'
);
select ledger_is_sound();


-- Nobody there, and another user

reset role;
select _auth.assume_users(array[gen_random_uuid()]);
set local role mana_backend;
select refused_ok(
    $$ select credits.use_credits(1, 'chat', 'A question') $$,
    'PT404', 'not_found', 'This user has no credits account.',
    'a user without an account is refused'
);
select is(
    balance_of('ada') ->> 'version' || balance_of('bob') ::text,
    '5{"held": 0, "balance": 0, "version": 9, "total_spent": 180, "total_earned": 180, "free_credits_remaining": 0}',
    'what one user spends, no other has lost'
);

select * from finish();
rollback;
