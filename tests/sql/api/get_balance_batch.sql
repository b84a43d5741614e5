-- api.get_balance_batch: each call ends as it would alone, or is left to be made alone.
begin;
\ir ../setup.psql
select plan(6);

select make_users('ada', 'bob', 'cleo');
update auth.sessions set revoked_at = auth.clock() where id = session_of('cleo');
select give_paid('bob', 30);

create function tap.balances(p_names text[], variadic p_claims text[])
returns text[]
language sql
as $$
    select array(
        select b::text
          from api.get_balance_batch(
                   array(select id_of(n.name) from unnest(p_names) with ordinality as n (name, place) order by n.place),
                   p_claims, null
               ) as b
    )
$$;

create function tap.balance_alone(p_name text)
returns text
language sql
as $$
    select api.get_balance(id_of(p_name), claims_of(p_name), null)::text
$$;

set local role mana_gateway;

select is(
    balances('{bob,ada,bob}', claims_of('bob'), claims_of('ada'), claims_of('bob')),
    array[balance_alone('bob'), balance_alone('ada'), balance_alone('bob')],
    'each call has the bytes of one alone, in order'
);
select is(
    balances('{bob,ada}', claims_of('ada'), claims_of('ada')), array['(,,)', balance_alone('ada')],
    'nobody''s balance is shown for another''s claims'
);
select is(
    balances('{ada,cleo}', claims_of('ada'), claims_of('cleo')), array[balance_alone('ada'), '(,,)'],
    'a session that has ended is left to be refused alone'
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
    balances('{ada,bob}', claims_of('ada'), claims_of('bob')), array['(,,)', '(,,)'],
    'a daily grant that is due is left to be paid alone'
);
select ledger_is_sound();

select * from finish();
rollback;
