-- api.refresh_session. Which token is taken is in auth/refresh_session.sql.
begin;
\ir ../../setup.psql
select plan(6);

select make_users('ada', 'bob');
select come_as('bob') \gset
set local role mana_gateway;

select status, body, headers is null as no_headers, body ->> 'refreshToken' as token
  from api.refresh_session(id_of('ada'), '{"ip": "192.0.2.7"}', token_of('ada'), '7 days') \gset
select is(:status, 200, 'refreshing answers 200');
select is(
    :'body'::jsonb,
    jsonb_build_object(
        'user', json_build_object('id', id_of('ada'), 'email', email_of('ada'), 'name', 'Ada', 'role', 'user'),
        'refreshToken', :'token',
        'claims', json_build_object(
            'sub', id_of('ada'), 'email', email_of('ada'), 'name', 'Ada', 'role', 'user',
            'sessionId', session_of('ada'), 'sid', session_of('ada'),
            'deviceId', 'phone'
        )
    ),
    'as a login does'
);
select is(:'no_headers'::boolean, true, 'and no header');
select is(
    (select body ->> 'refreshToken' from api.refresh_session(id_of('ada'), null, token_of('ada'), '7 days')), :'token',
    'a retry gets the same token'
);

select is(
    (select (status, body::text, headers)::text from api.refresh_session(id_of('ada'), null, 'garbage', '7 days')),
    (401, '{"code" : "invalid_refresh_token", "detail" : "Invalid refresh token"}', null::json)::text,
    'a token that is refused answers 401, which is returned and not raised: the record of it must stay'
);
select is(
    (select status from api.refresh_session(id_of('bob'), null, :'token', '7 days')), 401, 'another user''s token answers 401'
);

select * from finish();
rollback;
