-- auth.log_out
begin;
\ir ../../setup.psql
select plan(10);

select make_users('ada', 'bob');
select (auth.log_in(email_of('ada'), digest_of('ada'), 'tablet', null, '7 days')).session_id as id \gset tablet_

create function tap.live_sessions() returns bigint language sql security definer as $$
    select count(*) from auth.sessions
     where user_id in (tap.id_of('ada'), tap.id_of('bob')) and revoked_at is null
$$;

-- Anonymous
select auth.begin_anonymous_request('') \gset
set local role mana_api;
select throws_ok('select auth.log_out()', 'PT401', 'authentication_required', 'nobody is refused');
select is(live_sessions(), 3::bigint, 'and no session ends');

-- Another user, with a session that is not theirs
select set_config(
    'request.jwt.claims', json_build_object('sub', id_of('bob'), 'sessionId', session_of('ada'))::text, true
) \gset
select throws_ok('select auth.log_out()', 'PT401', 'authentication_required', 'so are claims that nobody has checked');
reset role;
select _auth.assume_users(
    array[id_of('bob')], json_build_object('sub', id_of('bob'), 'sessionId', session_of('ada'))::text
);
set local role mana_api;
select auth.log_out();
select is(live_sessions(), 3::bigint, 'a session ends only for its own user');

-- The owner
select set_clock('2030-01-01 01:00Z');
select auth.begin_request(id_of('ada'), claims_of('ada'), '{"ip": "192.0.2.7"}');
select auth.log_out();
select refused_ok(
    $$ select auth.begin_request(id_of('ada'), claims_of('ada'), '') $$,
    'PT401', 'session_ended', 'Invalid token: this session has ended. Log in again.',
    'after logout the access token is refused at once'
);
reset role;
select is(
    (select revoked_at from auth.sessions where id = session_of('ada')), '2030-01-01 01:00Z', 'the session is revoked'
);
select is((select revoked_at from auth.sessions where id = :'tablet_id'), null, 'the one on another device goes on');
select results_eq(
    $$ select session_id, host(ip_address) from auth.security_events
        where user_id = id_of('ada') and event_type = 'logged_out' $$,
    $$ values (session_of('ada'), '192.0.2.7') $$,
    'the logout is noted'
);

select set_clock('2030-01-01 02:00Z');
select come_as('ada') \gset
set local role mana_api;
select auth.log_out();
reset role;
select is(
    (select revoked_at from auth.sessions where id = session_of('ada')), '2030-01-01 01:00Z',
    'a session that has ended stays as it is'
);
select is(
    (select count(*) from auth.security_events where user_id = id_of('ada') and event_type = 'logged_out'), 1::bigint,
    'and its end is noted once'
);

select * from finish();
rollback;
