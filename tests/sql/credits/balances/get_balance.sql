-- credits.get_balance. The grant that it may pay is in credits/daily_grant.sql.
begin;
\ir ../../setup.psql
select plan(9);

select make_users('ada', 'bob');
select give_paid('ada', 30);

set local role mana_backend;

-- Anonymous
select refused_ok(
    'select credits.get_balance()', 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user there is no balance'
);

-- The owner
select auth.act_as(id_of('ada'));
select credits.use_credits(160, 'chat', 'A question');
select is(
    (select to_jsonb(b) from credits.get_balance() as b),
    '{"balance": 20, "free_credits_remaining": 0, "total_earned": 180, "total_spent": 160, "daily_free_credits": 5,
      "next_daily_credits_at": "2030-01-02T00:00:00+00:00", "version": 3}',
    'the balance has both parts, the totals and when the next grant is due'
);
select is(
    (select to_jsonb(b) from credits.get_balance() as b), (select to_jsonb(b) from credits.get_balance() as b),
    'reading it changes nothing'
);
select ledger_is_sound();

-- Another user
select auth.act_as(id_of('bob'));
select is(
    (select (balance, free_credits_remaining, total_spent, version)::text from credits.get_balance()), '(0,150,0,1)',
    'another user has another one'
);
select ledger_is_sound();

-- What is held, and debt
reset role;
update credits.balances set held = 30 where user_id = id_of('bob');
select move('bob', 'refund', 'refunds', 0, -10);
set local role mana_backend;
select is(
    (select (balance, free_credits_remaining, version)::text from credits.get_balance()),
    '(-10,150,2)', 'debt is a negative paid part'
);
select ledger_is_sound();

-- Nobody there
reset role;
select _auth.assume_users(array[gen_random_uuid()]);
set local role mana_backend;
select refused_ok(
    'select credits.get_balance()', 'PT404', 'not_found', 'This user has no credits account.',
    'a user without an account has no balance'
);

select * from finish();
rollback;
