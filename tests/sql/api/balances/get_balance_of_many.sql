-- api.get_balance for many: each call ends as it would alone, or is left to be made alone.
begin;
\ir ../../setup.psql
select plan(8);

select make_users('ada', 'bob', 'cleo');
update auth.sessions set revoked_at = base.clock() where id = session_of('cleo');
select give_paid('bob', 30);

create function tap.balances(p_names text[], variadic p_claims text[])
returns text[]
language sql
as $$
    select array(
        select b::text
          from api.get_balance(
                   array(select id_of(n.name) from unnest(p_names) with ordinality as n (name, place) order by n.place),
                   p_claims, null
               ) as b
    )
$$;

create function tap.balance_alone(p_name text)
returns text
language sql
as $$
    select get_balance(id_of(p_name), claims_of(p_name), null)::text
$$;

set local role mana_gateway;

select is(
    balances('{bob,ada,bob}', claims_of('bob'), claims_of('ada'), claims_of('bob')),
    array[balance_alone('bob'), balance_alone('ada'), balance_alone('bob')],
    'each call has the bytes of one alone, in order'
);
select is(
    balances('{bob,ada}', claims_of('ada'), claims_of('ada')),
    array[
        '(401,"{""code"" : ""invalid_token"", ""detail"" : ""Invalid token.""}",,"")',
        balance_alone('ada')
    ],
    'nobody''s balance is shown for another''s claims'
);
select is(
    balances('{ada,cleo}', claims_of('ada'), claims_of('cleo')),
    array[
        balance_alone('ada'),
        '(401,"{""code"" : ""session_ended"", ""detail"" : ""Invalid token: this session has ended. Log in again.""}",,"")'
    ],
    'a session that has ended is refused'
);
select is(
    balances('{ada,bob}', claims_of('ada'), 'no JSON'), array['(,,,)', '(,,,)'],
    'with claims that are no JSON among them, each has to call alone'
);

reset role;
select set_clock('2029-01-01 00:00Z');
select is(
    balances('{ada,bob}', claims_of('ada'), claims_of('bob')), array[balance_alone('ada'), balance_alone('bob')],
    'when the clock has gone back, none is due'
);
select set_clock('2030-01-02 00:00Z');
set local role mana_gateway;
select is(
    array(
        select (b.body ->> 'freeCreditsRemaining', b.body ->> 'nextDailyCreditsAt')::text
          from api.get_balance(
                   array[id_of('ada'), id_of('bob')], array[claims_of('ada'), claims_of('bob')], null
               ) as b
    ),
    array['(155,2030-01-03T00:00:00.000Z)', '(155,2030-01-03T00:00:00.000Z)'],
    'a daily grant that is due is paid to each'
);
select set_clock('2030-01-03 00:00Z');
select is(
    (
        select string_agg(b.events, '')
          from api.get_balance(
                   array[id_of('ada'), id_of('bob')], array[claims_of('ada'), claims_of('bob')], null
               ) as b
    ),
    'daily_grant=5 daily_grant=5', 'and noted once, in one of the replies'
);
select ledger_is_sound();

select * from finish();
rollback;
