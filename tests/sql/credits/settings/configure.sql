-- credits.configure: for administrators, who connect as themselves.
begin;
\ir ../../setup.psql
select plan(11);

select set_clock('2030-01-02 00:00Z');
select is(
    (select to_jsonb(s) from credits.configure(10, 2) as s),
    '{"id": true, "signup_bonus": 10, "daily_free_credits": 2, "updated_at": "2030-01-02T00:00:00+00:00"}',
    'both amounts are set and returned'
);
select is((select (signup_bonus, daily_free_credits)::text from credits.settings), '(10,2)', 'and stay');
select is(
    (select (signup_bonus, daily_free_credits)::text from credits.configure(p_signup_bonus => 0)), '(0,2)',
    'one alone leaves the other as it is'
);
select is(
    (select (signup_bonus, daily_free_credits)::text from credits.configure(p_daily_free_credits => 0)), '(0,0)',
    'and the other way round'
);
select is(
    (select (signup_bonus, daily_free_credits)::text from credits.configure(1000000000, 1000000000)),
    '(1000000000,1000000000)', '1000000000 is the most'
);
select refused_ok(
    'select credits.configure(-1, null)',
    'PT400', 'invalid_request', 'signupBonus: must be a whole number from 0 to 1000000000.',
    'a negative bonus is refused'
);
select refused_ok(
    'select credits.configure(1000000001, null)',
    'PT400', 'invalid_request', 'signupBonus: must be a whole number from 0 to 1000000000.',
    'and one of more'
);
select refused_ok(
    'select credits.configure(null, -1)',
    'PT400', 'invalid_request', 'dailyFreeCredits: must be a whole number from 0 to 1000000000.',
    'a negative grant is refused'
);
select refused_ok(
    'select credits.configure(null, 1000000001)',
    'PT400', 'invalid_request', 'dailyFreeCredits: must be a whole number from 0 to 1000000000.',
    'and one of more'
);
select throws_ok(
    'insert into credits.settings values (false, 1, 1, now())', '23514',
    'new row for relation "settings" violates check constraint "settings_id_check"', 'there is one row of settings'
);
set local role mana_backend;
select throws_ok(
    'select credits.configure(1, 1)', '42501', 'permission denied for function configure', 'a backend may not configure'
);

select * from finish();
rollback;
