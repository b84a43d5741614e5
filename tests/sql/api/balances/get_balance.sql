-- api.get_balance
begin;
\ir ../../setup.psql
select plan(3);

select make_users('ada');
select give_paid('ada', 30);
set local role mana_gateway;

select is(
    (select (status, body::jsonb, headers)::text from get_balance(id_of('ada'), claims_of('ada'), null)),
    (
        200,
        '{"balance": 30, "freeCreditsRemaining": 150, "totalEarned": 180, "totalSpent": 0, "dailyFreeCredits": 5,
          "nextDailyCreditsAt": "2030-01-02T00:00:00.000Z", "version": 2}'::jsonb,
        null::json
    )::text,
    'the balance is shown with all its fields'
);

select set_clock('2030-01-02 00:00Z');
select is(
    (select body::jsonb from get_balance(id_of('ada'), claims_of('ada'), null)),
    '{"balance": 30, "freeCreditsRemaining": 155, "totalEarned": 185, "totalSpent": 0, "dailyFreeCredits": 5,
      "nextDailyCreditsAt": "2030-01-03T00:00:00.000Z", "version": 3}',
    'a grant that is due is in it'
);
select ledger_is_sound();

select * from finish();
rollback;
