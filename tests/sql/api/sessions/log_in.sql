-- api.log_in. Who is let in is in auth/log_in.sql.
begin;
\ir ../../setup.psql
select plan(9);

select make_users('ada', 'bob');
select auth.set_disabled(email_of('bob'), true);
select come_as('bob') \gset

create function tap.login(p_name text, p_digest text, p_device_id text default null)
returns api.reply
language sql
as $$
    select api.log_in('{"ip": "192.0.2.7"}', email_of(p_name), p_digest, p_device_id, null, '7 days')
$$;

set local role mana_gateway;

select status, body, headers is null as no_headers,
       body ->> 'refreshToken' as token, body -> 'claims' ->> 'sessionId' as session
  from login('ada', digest_of('ada'), 'tablet') \gset
select is(:status, 200, 'logging in answers 200');
select is(
    :'body'::jsonb,
    jsonb_build_object(
        'user', json_build_object('id', id_of('ada'), 'email', email_of('ada'), 'name', 'Ada', 'role', 'user'),
        'refreshToken', :'token',
        'claims', json_build_object(
            'sub', id_of('ada'), 'email', email_of('ada'), 'name', 'Ada', 'role', 'user',
            'sessionId', :'session', 'sid', :'session', 'deviceId', 'tablet'
        )
    ),
    'with the user, the refresh token and the claims to sign'
);
select is(:'no_headers'::boolean, true, 'and no header');
set local role mana_api;
select lives_ok(
    format('select auth.begin_request(%L, %L, null)', id_of('ada'), :'body'::json -> 'claims'), 'the claims are taken'
);
set local role mana_gateway;
select is(
    (select (body -> 'claims')::jsonb ? 'deviceId' from login('ada', digest_of('ada'))), false,
    'without a device there is no such claim'
);

select is(
    (select (status, body::text, headers)::text from login('ada', 'wrong')),
    (401, '{"code" : "invalid_credentials", "detail" : "Invalid email or password"}', null::json)::text,
    'a wrong password answers 401'
);
select is(
    (select (status, body::text, headers)::text from login('nobody', 'wrong')),
    (select (status, body::text, headers)::text from login('ada', 'wrong')),
    'an unknown address answers the same'
);
select is(
    (select (status, body::text, headers)::text from login('bob', digest_of('bob'))),
    (401, '{"code" : "account_disabled", "detail" : "This account is disabled."}', null::json)::text,
    'a disabled user is told so with the right password'
);
select is(
    (select (status, body::text, headers)::text from login('bob', 'wrong')),
    (select (status, body::text, headers)::text from login('ada', 'wrong')),
    'and with a wrong one is answered as anybody'
);

select * from finish();
rollback;
