-- api.use_credits for many: each call ends as it would alone, or is left to be made alone.
begin;
\ir ../../setup.psql
select plan(18);

select make_users('ada', 'bob', 'cleo');

-- Spends of these people, one with each amount; the other arguments are the same for all.
create function tap.spends(
    p_names text[], p_amounts bigint[], p_keys text[] default null, p_versions bigint[] default null
)
returns setof api.reply
language sql
as $$
    with calls as (
        select array_agg(id_of(name) order by place) as user_ids,
               array_agg(claims_of(name) order by place) as claims,
               array_agg('chat'::text order by place) as app_ids,
               array_agg('A question'::text order by place) as descriptions,
               array_agg(null::jsonb order by place) as metadata
          from unnest(p_names) with ordinality as p (name, place)
    )
    select r.*
      from calls as c
     cross join lateral api.use_credits(
         c.user_ids, c.claims, null, p_amounts, c.app_ids, c.descriptions, p_keys, c.metadata, p_versions
     ) as r
$$;

create function tap.statuses(variadic p_answers api.reply[]) returns text language sql as $$
    select string_agg(coalesce(a.status::text, 'alone'), ' ') from unnest(p_answers) as a
$$;

create function tap.left_of(p_name text)
returns text
language sql
security definer
as $$
    select concat_ws('/', free_credits_remaining, balance, total_spent, version)
      from credits.balances
     where user_id = id_of(p_name)
$$;

select give_paid('cleo', 100);
set local role mana_gateway;

-- Side by side
select is(
    statuses(variadic array(select b from spends('{ada,bob,cleo}', '{10,20,200}') as b)),
    '200 200 200', 'users spend side by side'
);
select is(
    (left_of('ada'), left_of('bob'), left_of('cleo')), ('140/0/10/2'::text, '130/0/20/2'::text, '0/50/200/3'::text),
    'each their own credits, free ones first'
);
select is(
    array(
        select b.body -> 'transaction' ->> 'userId' from spends('{cleo,ada,bob}', '{1,2,3}') as b
    ),
    array[id_of('cleo'), id_of('ada'), id_of('bob')]::text[], 'the answers come in the order of the calls'
);
select use_credits(id_of('ada'), claims_of('ada'), null, 1, 'chat', 'A question', 'k-0', null, null) as alone \gset
select is(
    (select regexp_replace(b::text, '"id" : "[^"]*"', '') from spends('{ada}', '{1}', '{k-0}') as b),
    regexp_replace(
        (200, (:'alone'::api.reply).body, '{"Idempotency-Replayed" : "true"}'::json, '')::api.reply::text,
        '"id" : "[^"]*"', ''
    ),
    'an answer has the same bytes as that of a call alone, and a retry its header'
);

-- One after the other
select is(
    array(select (b.body -> 'newBalance' ->> 'version')::int from spends('{bob,bob,ada,bob}', '{1,1,1,1}') as b),
    '{4,5,5,6}', 'spends of one user follow each other'
);
select is(left_of('bob'), '124/0/26/6', 'and all count');
select is(
    statuses(variadic array(select b from spends('{bob,bob,bob}', '{100,24,1}') as b)),
    '200 200 402', 'until credits are short'
);
select is(
    array(select b.headers is not null from spends('{ada,ada}', '{5,5}', '{k-1,k-1}') as b), '{f,t}',
    'the same key twice in a batch is one spend and its retry'
);
select is(left_of('ada'), '131/0/19/6', 'charged once');

-- Refused among others
select is(
    statuses(variadic array(select b from spends('{ada,ada,ada}', '{6,5,1}', '{k-1,k-1,k-2}') as b)),
    '422 200 200', 'a key of another request is refused'
);
select is(
    statuses(variadic array(select b from spends('{ada,ada}', '{1,1}', null, '{7,7}') as b)),
    '200 409', 'so is a version that has moved, also within the batch'
);
select is(
    statuses(variadic array(select b from spends('{ada,ada,ada,ada}', '{0,-1,1000000001,null}') as b)),
    '400 400 400 400', 'so is an amount out of range'
);
select is(left_of('ada'), '129/0/21/8', 'nothing is charged for what is refused');
select is(
    statuses(variadic array(
        select b
          from api.use_credits(
                   array[id_of('ada'), id_of('cleo')], array[claims_of('cleo'), claims_of('cleo')], null,
                   '{1,1}', '{chat,chat}', '{a,a}', null, null, null
               ) as b
    )),
    '401 200', 'another user''s claims are refused'
);
select is(left_of('ada'), '129/0/21/8', 'nothing is charged for them');

-- With grants that are due
reset role;
select set_clock('2030-01-02 00:00Z');
set local role mana_gateway;
select is(
    (
        select string_agg(b.status::text, ' ') || ', ' || string_agg(b.events, '')
          from spends('{ada,cleo,ada,bob}', '{1,1,1,1000}', null, '{8,null,10,null}') as b
    ),
    '200 200 200 402, daily_grant=5 daily_grant=5 daily_grant=5',
    'each grant is paid first and noted once; the version from before it is no conflict'
);
select is(left_of('bob'), '5/0/150/9', 'a grant stays, though the spend is refused');
select ledger_is_sound();

select * from finish();
rollback;
