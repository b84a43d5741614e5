-- auth.begin_request: who may act for a user, checked again at each request.
begin;
\ir ../../setup.psql
select plan(30);

select make_users('ada', 'bob', 'cleo', 'dora', 'emil', 'root');
select auth.set_role(email_of('root'), 'admin');
update auth.sessions set revoked_at = base.clock() where id = session_of('cleo');
update auth.users set deleted_at = base.clock() where id = id_of('dora');
update auth.users set disabled_at = base.clock() where id = id_of('emil');
select auth.begin_anonymous_request('') \gset

create function tap.begin_as(p_name text, p_claims text) returns text language sql as $$
    select format('select auth.begin_request(%L, %L, %L)', id_of(p_name), p_claims, '{"ip": "192.0.2.7"}')
$$;

create function tap.invalid_ok(p_name text, p_claims text, p_description text) returns text language sql as $$
    select refused_ok(
        begin_as(p_name, p_claims), 'PT401', 'invalid_token', 'Invalid token.', p_description
    )
$$;

create function tap.ended_ok(p_name text, p_claims text, p_description text) returns text language sql as $$
    select refused_ok(
        begin_as(p_name, p_claims), 'PT401', 'session_ended', 'Invalid token: this session has ended. Log in again.', p_description
    )
$$;

create function tap.role_changed_ok(p_name text, p_claims text, p_description text) returns text language sql as $$
    select refused_ok(
        begin_as(p_name, p_claims), 'PT401', 'role_changed',
        'Invalid token: the role of this account has changed. Refresh it.', p_description
    )
$$;

set local role mana_api;

-- Anonymous
select invalid_ok('ada', null, 'no claims are refused');
select invalid_ok('ada', '', 'empty claims are refused');
select invalid_ok('ada', '{}', 'claims without a user are refused');
select invalid_ok('ada', '[]', 'claims that are no object are refused');
select invalid_ok('nobody', '{}', 'no user and claims without one are refused: null is not null');
select invalid_ok('nobody', claims_of('ada'), 'no user is refused, whatever the claims');

-- Claims that nobody can read
select invalid_ok('ada', 'nonsense', 'claims that are no JSON are refused');
select invalid_ok('ada', left(claims_of('ada'), -1), 'claims that end too early are refused');
select invalid_ok('ada', repeat('[', 100000), 'claims that are nested too deeply are refused');
select invalid_ok(
    'ada', replace(claims_of('ada'), 'user', '\u0000'), 'claims with a character that no text can have are refused'
);
select invalid_ok(
    'ada', json_build_object('sub', id_of('ada'), 'role', 'user', 'sessionId', 'mine')::text,
    'a session that is no UUID is refused'
);
select is(auth.uid(), null, 'claims that cannot be read leave no user behind');
select lives_ok(
    format('select auth.begin_request(%L, %L, %L)', id_of('ada'), claims_of('ada'), 'nonsense'),
    'a context that cannot be read is no reason to refuse'
);
select auth.begin_anonymous_request('');

-- Another user
select invalid_ok('ada', claims_of('bob'), 'another user''s claims are refused');
select ended_ok(
    'bob', json_build_object('sub', id_of('bob'), 'role', 'user', 'sessionId', session_of('ada'))::text,
    'another user''s session is refused'
);
select is(auth.uid(), null, 'refused claims leave no user behind');
select is(nullif(current_setting('request.context', true), ''), null, 'and no context');

-- The owner
select lives_ok(begin_as('ada', claims_of('ada')), 'claims that are true are taken');
select is(auth.uid(), id_of('ada'), 'the user of the claims is the user of the transaction');
select is(
    (auth.role(), auth.session_id()), ('user'::text, session_of('ada')), 'with the role and the session of the claims'
);
select invalid_ok('ada', claims_of('bob'), 'who has begun a request is not asked in place of the claims');
select ended_ok(
    'ada', json_build_object('sub', id_of('ada'), 'role', 'user')::text, 'claims without a session are refused'
);
select ended_ok(
    'ada', json_build_object('sub', id_of('ada'), 'role', 'user', 'sessionId', gen_random_uuid())::text,
    'an unknown session is refused'
);
select ended_ok('cleo', claims_of('cleo'), 'a revoked session is refused');
select ended_ok('dora', claims_of('dora'), 'a deleted user is refused');
select refused_ok(
    begin_as('emil', claims_of('emil')), 'PT401', 'account_disabled', 'Invalid token: this account is disabled.',
    'a disabled user is refused'
);
select set_clock('2030-01-08 00:00Z');
select ended_ok('ada', claims_of('ada'), 'a session is refused when its time is over');
select set_clock('2030-01-07 23:59:59.999999Z');

-- An admin, and who would like to be one
select lives_ok(begin_as('root', claims_of('root', 'admin')), 'an admin''s claims are taken');
select role_changed_ok('root', claims_of('root'), 'claims with the role of before are refused');
select role_changed_ok(
    'ada', claims_of('ada', 'service'), 'claims with a role that the user does not have are refused'
);

select * from finish();
rollback;
