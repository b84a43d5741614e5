-- credits.open_account. What registering makes of it is in auth/register_user.sql.
begin;
\ir ../../setup.psql
select plan(10);

select make_users('ada', 'bob');

create function tap.balance_of(p_name text) returns jsonb language sql security definer as $$
    select to_jsonb(b) - 'user_id' - 'updated_at' from credits.balances as b where user_id = tap.id_of(p_name)
$$;

-- Anonymous
set local role mana_auth;
select refused_ok(
    'select credits.open_account(base.clock())', 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user no account is opened'
);

-- The owner, who has one
select balance_of('ada') as before, balance_of('bob') as other \gset
select set_clock('2030-01-02 12:00Z');
select _auth.assume_users(array[id_of('ada')]);
select credits.open_account(base.clock());
select is(balance_of('ada'), :'before'::jsonb, 'opening an account again changes nothing');
select is(balance_of('bob'), :'other'::jsonb, 'nor anything of another user');
reset role;
select is(
    (select count(*) from credits.transactions where user_id = id_of('ada')), 1::bigint, 'the bonus is paid once'
);
select ledger_is_sound();

-- A user without one, born before this moment
insert into auth.users (id, email, created_at, updated_at)
values (base.uuid_v7(base.clock()), email_of('cleo'), base.clock(), base.clock())
returning id as cleo_id \gset
update credits.settings set signup_bonus = 7;
select _auth.assume_users(array[:'cleo_id'::uuid]);
set local role mana_auth;
select credits.open_account('2030-01-01 06:00Z');
reset role;
select is(
    (select to_jsonb(b) - 'user_id' - 'updated_at' from credits.balances as b where user_id = :'cleo_id'),
    '{"balance": 0, "free_credits_remaining": 7, "held": 0, "total_earned": 7, "total_spent": 0, "version": 1,
      "last_daily_reset_at": "2030-01-01T06:00:00+00:00", "created_at": "2030-01-01T06:00:00+00:00"}',
    'the account is born when it is said, with the bonus as it is now'
);
select is(
    (select created_at from credits.transactions where user_id = :'cleo_id'),
    '2030-01-01 06:00:00.000001Z'::timestamptz,
    'the bonus is paid at its birth, though the clock is a day ahead by now'
);
select ledger_is_sound();

-- Nobody there
select _auth.assume_users(array[gen_random_uuid()]);
set local role mana_auth;
select throws_ok(
    'select credits.open_account(base.clock())', '23503', null, 'no account without a user'
);
reset role;

-- An account without settings to say what the bonus is
delete from credits.settings;
select throws_ok(
    $$ select auth.register_user('dora@pgtap.invalid', 'digest') $$, 'P0002', null,
    'without settings nobody is registered'
);

select * from finish();
rollback;
