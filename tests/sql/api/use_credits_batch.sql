-- api.use_credits_batch: each call ends as it would alone, or is left to be made alone.
begin;
\ir ../setup.psql
select plan(17);

select make_users('ada', 'bob', 'cleo');

-- Spends of these people, one with each amount; the other arguments are the same for all.
create function tap.batch(
    p_names text[], p_amounts bigint[], p_keys text[] default null, p_versions bigint[] default null
)
returns setof api.response
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
     cross join lateral api.use_credits_batch(
         c.user_ids, c.claims, null, p_amounts, c.app_ids, c.descriptions, p_keys, c.metadata, p_versions
     ) as r
$$;

create function tap.statuses(variadic p_answers api.response[]) returns text language sql as $$
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
    statuses(variadic array(select b from batch('{ada,bob,cleo}', '{10,20,200}') as b)),
    '200 200 200', 'users spend side by side'
);
select is(
    (left_of('ada'), left_of('bob'), left_of('cleo')), ('140/0/10/2'::text, '130/0/20/2'::text, '0/50/200/3'::text),
    'each their own credits, free ones first'
);
select is(
    array(
        select b.body -> 'transaction' ->> 'userId' from batch('{cleo,ada,bob}', '{1,2,3}') as b
    ),
    array[id_of('cleo'), id_of('ada'), id_of('bob')]::text[], 'the answers come in the order of the calls'
);
select api.use_credits(id_of('ada'), claims_of('ada'), null, 1, 'chat', 'A question', 'k-0', null, null) as alone \gset
select is(
    (select regexp_replace(b::text, '"id" : "[^"]*"', '') from batch('{ada}', '{1}', '{k-0}') as b),
    regexp_replace(
        (200, (:'alone'::api.response).body, '{"Idempotency-Replayed" : "true"}'::json)::api.response::text,
        '"id" : "[^"]*"', ''
    ),
    'an answer has the same bytes as that of a call alone, and a retry its header'
);

-- One after the other
select is(
    array(select (b.body -> 'newBalance' ->> 'version')::int from batch('{bob,bob,ada,bob}', '{1,1,1,1}') as b),
    '{4,5,5,6}', 'spends of one user follow each other'
);
select is(left_of('bob'), '124/0/26/6', 'and all count');
select is(
    statuses(variadic array(select b from batch('{bob,bob,bob}', '{100,24,1}') as b)),
    '200 200 alone', 'until credits are short, which is for a call alone to say'
);
select is(
    array(select b.headers is not null from batch('{ada,ada}', '{5,5}', '{k-1,k-1}') as b), '{f,t}',
    'the same key twice in a batch is one spend and its retry'
);
select is(left_of('ada'), '131/0/19/6', 'charged once');

-- Left for a call alone
select is(
    statuses(variadic array(select b from batch('{ada,ada,ada}', '{6,5,1}', '{k-1,k-1,k-2}') as b)),
    'alone 200 200', 'a key of another request is'
);
select is(
    statuses(variadic array(select b from batch('{ada,ada}', '{1,1}', null, '{7,7}') as b)),
    '200 alone', 'a version that has moved is, also within the batch'
);
select is(
    statuses(variadic array(select b from batch('{ada,ada,ada,ada}', '{0,-1,1000000001,null}') as b)),
    'alone alone alone alone', 'an amount that is none is'
);
select is(left_of('ada'), '129/0/21/8', 'and nothing is charged for what is left');
select is(
    statuses(variadic array(
        select b
          from api.use_credits_batch(
                   array[id_of('ada'), id_of('cleo')], array[claims_of('cleo'), claims_of('cleo')], null,
                   '{1,1}', '{chat,chat}', '{a,a}', null, null, null
               ) as b
    )),
    'alone 200', 'another user''s claims are'
);
select is(left_of('ada'), '129/0/21/8', 'nothing is charged for them');

reset role;
select set_clock('2030-01-02 00:00Z');
set local role mana_gateway;
select is(
    statuses(variadic array(select b from batch('{ada,cleo}', '{1,1}') as b)), 'alone alone', 'a daily grant that is due is'
);
select ledger_is_sound();

select * from finish();
rollback;
