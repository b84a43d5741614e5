-- api.get_balance
begin;
\ir ../../setup.psql
select plan(5);

select make_users('ada');
select give_paid('ada', 30);

create function tap.parts_of_balance()
returns text
language sql
as $$
    select (body ->> 'balance', body ->> 'freeCreditsRemaining', body ->> 'held', body ->> 'debt', body ->> 'spendable')::text
      from get_balance(id_of('ada'), claims_of('ada'), null)
$$;

set local role mana_gateway;

select is(
    (select (status, body::jsonb, headers)::text from get_balance(id_of('ada'), claims_of('ada'), null)),
    (
        200,
        '{"balance": 30, "freeCreditsRemaining": 150, "held": 0, "debt": 0, "spendable": 180, "totalEarned": 180,
          "totalSpent": 0, "dailyFreeCredits": 5, "nextDailyCreditsAt": "2030-01-02T00:00:00.000Z",
          "version": 2}'::jsonb,
        null::json
    )::text,
    'the balance is shown with all its fields'
);

select set_clock('2030-01-02 00:00Z');
select is(
    (select body::jsonb from get_balance(id_of('ada'), claims_of('ada'), null)),
    '{"balance": 30, "freeCreditsRemaining": 155, "held": 0, "debt": 0, "spendable": 185, "totalEarned": 185,
      "totalSpent": 0, "dailyFreeCredits": 5, "nextDailyCreditsAt": "2030-01-03T00:00:00.000Z", "version": 3}',
    'a grant that is due is in it'
);

reset role;
update credits.balances set held = 25 where user_id = id_of('ada');
set local role mana_gateway;
select is(parts_of_balance(), '(30,155,25,0,160)', 'what is held is in its part and cannot be spent');
select move('ada', 'refund', 'refunds', 0, -50);
select is(parts_of_balance(), '(0,155,25,20,130)', 'debt is shown as debt, never as a negative balance');
select ledger_is_sound();

select * from finish();
rollback;
