-- auth.begin_requests: for whom a transaction for many users acts, and what it then sees.
begin;
\ir ../../setup.psql
select plan(20);

select make_users('ada', 'bob', 'cleo', 'dora', 'emil', 'root');
select auth.set_role(email_of('root'), 'admin');
update auth.sessions set revoked_at = base.clock() where id = session_of('cleo');
update auth.users set deleted_at = base.clock() where id = id_of('dora');
update auth.users set disabled_at = base.clock() where id = id_of('emil');

-- Whom the ledger functions see.
create function tap.seen()
returns text
language sql
security definer
as $$
    select string_agg(distinct p.name, ' ' order by p.name)
      from credits.transactions as t
      join tap.people as p on p.user_id = t.user_id
$$;
alter function tap.seen() owner to mana_ledger;
grant select on tap.people to mana_ledger;

-- Who is let in, of people who come with these claims, and who is then seen.
create function tap.let_in(p_names text[], variadic p_claims text[])
returns text
language sql
security definer
as $$
    select string_agg(coalesce(p.name, u.code, 'alone'), ' ' order by u.ordinality)
           || ', sees ' || coalesce(seen(), 'nobody')
      from unnest(auth.begin_requests(
               array(select id_of(n.name) from unnest(p_names) with ordinality as n (name, place) order by n.place),
               p_claims, null
           )) with ordinality as u
      left join tap.people as p on p.user_id = u.user_id
$$;

select is(
    let_in('{ada,bob}', claims_of('ada'), claims_of('bob')), 'ada bob, sees ada bob',
    'who has true claims is let in, with others'
);
select is(auth.uid(), null, 'the transaction has no single user');
select is(let_in('{ada}', 'no JSON'), 'invalid_token, sees nobody', 'a lone caller is refused for claims that are no JSON');
select is(
    let_in('{bob}', claims_of('bob')) || ', is ' || auth.uid(), 'bob, sees bob, is ' || id_of('bob'),
    'a lone caller is the user of the transaction'
);
select let_in('{ada,bob}', claims_of('ada'), claims_of('bob')) \gset
select is(auth.uid(), null, 'until others come');
set local role mana_backend;
select throws_ok(
    'select credits.get_balance()', 'PT401', 'authentication_required', 'so a function for one user finds nobody'
);
reset role;
select is(let_in('{ada}', claims_of('ada')), 'ada, sees ada', 'the users of the call before are gone');
select is(
    let_in('{ada,bob}', claims_of('ada'), claims_of('ada')), 'ada invalid_token, sees ada', 'another user''s claims are not taken'
);
select is(
    let_in('{ada,bob}', claims_of('ada'), json_build_object(
        'sub', id_of('bob'), 'role', 'user', 'sessionId', session_of('ada')
    )::text),
    'ada session_ended, sees ada', 'nor another user''s session'
);
select is(let_in('{ada,bob}', claims_of('ada'), null), 'ada invalid_token, sees ada', 'nor are no claims');
select is(let_in('{ada,bob}', '{}', claims_of('bob')), 'invalid_token bob, sees bob', 'nor empty ones');
select is(
    let_in('{ada,cleo,dora,emil}', claims_of('ada'), claims_of('cleo'), claims_of('dora'), claims_of('emil')),
    'ada session_ended session_ended account_disabled, sees ada', 'a revoked session, a deleted and a disabled user stay outside'
);
select is(
    let_in('{ada,ada}', claims_of('ada'), json_build_object(
        'sub', id_of('ada'), 'role', 'user', 'sessionId', session_of('cleo')
    )::text),
    'ada session_ended, sees ada', 'so does a dead session of a user who is let in with a living one'
);
select is(
    let_in('{ada,root}', claims_of('ada', 'admin'), claims_of('root', 'admin')), 'role_changed root, sees root',
    'a role that the user does not have stays outside, and an admin among others sees their own rows'
);
select is(
    let_in('{bob,cleo}', claims_of('ada'), claims_of('cleo')), 'invalid_token session_ended, sees nobody',
    'nobody let in, nobody seen'
);
select is(let_in('{ada,bob}', claims_of('ada'), 'no JSON'), 'alone alone, sees nobody', 'nor with claims that are no JSON');
select is(
    let_in('{ada,bob}', claims_of('ada'), repeat('[', 1000000)), 'alone alone, sees nobody', 'or are nested too deeply to tell'
);
select is(auth.begin_requests(null, '{no JSON}', null), '{}', 'nobody is asked about, whatever the claims');

select let_in('{bob}', claims_of('bob')) \gset
select auth.begin_request(id_of('ada'), claims_of('ada'), null) \gset
select is(seen(), 'ada', 'a request for one user ends the acting for others');

select let_in('{bob}', claims_of('bob')) \gset
set local role mana_backend;
select auth.act_as(id_of('ada')) \gset
reset role;
select is(seen(), 'ada', 'and so does a backend that acts as a user');

select * from finish();
rollback;
