-- api.log_out
begin;
\ir ../../setup.psql
select plan(9);

select make_users('ada', 'bob', 'cleo');
set local role mana_gateway;

-- By access token
select is(
    (select (status, body::text, headers)::text from api.log_out(id_of('ada'), claims_of('ada'), null, null)),
    (200, '{"message" : "Logged out successfully"}', null::json)::text, 'an access token logs out'
);
select refused_ok(
    $$ select api.log_out(id_of('ada'), claims_of('ada'), null, null) $$,
    'PT401', 'session_ended', 'Invalid token: this session has ended. Log in again.', 'once: then it has ended'
);
select is(
    (select status from api.refresh_session(id_of('ada'), null, token_of('ada'), '7 days')), 401, 'with its refresh token'
);

-- By refresh token
select is(
    (select (status, body::text, headers)::text from api.log_out(id_of('bob'), null, null, token_of('bob'))),
    (200, '{"message" : "Logged out successfully"}', null::json)::text, 'a refresh token logs out, without claims'
);
select is(
    (select (status, body::text)::text from get_balance(id_of('bob'), claims_of('bob'), null)),
    (401, '{"code" : "session_ended", "detail" : "Invalid token: this session has ended. Log in again."}')::text,
    'the access token is refused at once'
);
select is(
    (select status from api.log_out(id_of('bob'), null, null, token_of('bob'))), 200, 'logging out again is no error'
);

-- Another user
select is(
    (select (status, body::text)::text from api.log_out(id_of('ada'), null, null, token_of('cleo'))),
    (401, '{"code" : "invalid_refresh_token", "detail" : "Invalid refresh token"}')::text,
    'another user''s refresh token is refused'
);
select is(
    (select (status, body::text)::text from api.log_out(id_of('cleo'), null, null, 'garbage')),
    (401, '{"code" : "invalid_refresh_token", "detail" : "Invalid refresh token"}')::text,
    'so is an unknown one'
);
select is((select status from get_balance(id_of('cleo'), claims_of('cleo'), null)), 200, 'and ends nothing');

select * from finish();
rollback;
