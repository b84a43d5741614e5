-- auth.log_in
begin;
\ir ../../setup.psql
select plan(40);

select make_users('ada', 'bob', 'cleo', 'dora', 'emil');
update auth.users set disabled_at = base.clock() where id = id_of('bob');
update auth.users set deleted_at = base.clock() where id = id_of('cleo');
delete from auth.passwords where user_id = id_of('dora');

create view tap.events as
select user_id, event_type, session_id, host(ip_address) as ip_address, user_agent, request_id
  from auth.security_events;

create function tap.log_in(p_name text, p_digest text)
returns auth.session_grant
language sql
as $$
    select auth.log_in(email_of(p_name), p_digest, 'tablet', 'Tablet', '7 days')
$$;

select set_clock('2030-01-02 00:00Z');


-- Who knows the password

set local role mana_api;
select auth.begin_anonymous_request('{"ip": "192.0.2.7", "userAgent": "curl", "requestId": "r-1"}');
select * from auth.log_in(upper(email_of('ada')), digest_of('ada'), 'tablet', 'Tablet', '7 days') \gset ada_
reset role;

select is(
    (:'ada_user_id', :'ada_email', :'ada_name', :'ada_role', :'ada_device_id')::text,
    (id_of('ada'), email_of('ada'), 'Ada', 'user', 'tablet')::text,
    'the right password logs in, in any letter case of the address'
);
select matches(
    :'ada_refresh_token'::text, '^' || replace(id_of('ada')::text, '-', '') || '\.[A-Za-z0-9_-]{43}$',
    'the refresh token names its user and has 256 bits'
);
select is(
    (select to_jsonb(s) - 'refresh_secret' from auth.sessions as s where id = :'ada_session_id'),
    jsonb_build_object(
        'user_id', id_of('ada'), 'id', :'ada_session_id', 'device_id', 'tablet', 'device_name', 'Tablet',
        'ip_address', '192.0.2.7', 'user_agent', 'curl', 'created_at', '2030-01-02T00:00:00+00:00',
        'last_activity_at', '2030-01-02T00:00:00+00:00', 'expires_at', '2030-01-09T00:00:00+00:00',
        'revoked_at', null
    ),
    'the session knows its device, where it came from and when it ends'
);
select results_eq(
    format(
        'select hash, issued_at, expires_at, used_at from auth.refresh_tokens where session_id = %L', :'ada_session_id'
    ),
    format(
        $$ values (
            sha256(%L), '2030-01-02 00:00Z'::timestamptz, '2030-01-09 00:00Z'::timestamptz, null::timestamptz
        ) $$,
        :'ada_refresh_token'
    ),
    'of the refresh token only the SHA-256 is kept'
);
select results_eq(
    format('select * from events where session_id = %L', :'ada_session_id'),
    format(
        $$ values (%L::uuid, 'logged_in', %L::uuid, '192.0.2.7', 'curl', 'r-1') $$, :'ada_user_id', :'ada_session_id'
    ),
    'the login is noted with where it came from'
);
select is(
    (select count(*) from auth.sessions where user_id = id_of('ada') and revoked_at is null), 2::bigint,
    'the session on another device goes on'
);
select is(
    (select count(distinct refresh_secret) from auth.sessions where user_id = id_of('ada')), 2::bigint,
    'each session has a secret of its own'
);


-- Who does not

set local role mana_api;
select is(log_in('ada', 'wrong'), null, 'a wrong password is refused');
select is(log_in('ada', ''), null, 'an empty password is refused');
select is(log_in('ada', null), null, 'no password is refused');
select is(log_in('ada', digest_of('bob')), null, 'another user''s password is refused');
reset role;
select is(
    (select count(*) from events where user_id = id_of('ada') and event_type = 'login_failed'), 4::bigint,
    'each failure is noted at the user'
);
select is(
    (select distinct (ip_address, user_agent, request_id)::text from events
      where user_id = id_of('ada') and event_type = 'login_failed'),
    '(192.0.2.7,curl,r-1)', 'with where it came from'
);
select is((select count(*) from auth.sessions where user_id = id_of('ada')), 2::bigint, 'and opens no session');

select count(*) as events from auth.security_events \gset
select is(log_in('nobody', 'digest'), null, 'an unknown address is refused');
select is(log_in('cleo', digest_of('cleo')), null, 'a deleted user is refused');
select is((select count(*) from auth.security_events), :events::bigint, 'for whom there is nowhere to note it');
select is(log_in('dora', digest_of('dora')), null, 'a user without a password is refused');


-- A disabled user

set local role mana_api;
select is(
    log_in('bob', digest_of('bob')), row(null, email_of('bob'), null, null, null, null, null)::auth.session_grant,
    'a disabled user with the right password gets the address back, and nothing else'
);
select is(log_in('bob', 'wrong'), null, 'and nothing at all with a wrong one');
reset role;
select is(
    (select count(*) from auth.sessions where user_id = id_of('bob')), 1::bigint, 'neither opens a session'
);
select results_eq(
    $$ select event_type, ip_address, user_agent, request_id from events
        where user_id = id_of('bob') and event_type like 'login%' order by event_type desc $$,
    $$ values ('login_refused', '192.0.2.7', 'curl', 'r-1'), ('login_failed', '192.0.2.7', 'curl', 'r-1') $$,
    'both are noted with where they came from, each as what it was'
);
select is(
    (select count(*) from events where event_type = 'login_refused'), 1::bigint,
    'a wrong password is never noted as a right one'
);


-- What no session can have

set local role mana_api;
select refused_ok(
           format('select auth.log_in(%L, %L, %L, %L, %L)', email_of('ada'), digest_of('ada'), device_id, device_name, ttl),
           'PT400', 'invalid_request', detail, description
       )
  from (values
      ('', null, '1 day', 'deviceId: must have 1 to 255 characters.', 'an empty device id is refused'),
      ('d', repeat('D', 256), '1 day', 'deviceName: must have 1 to 255 characters.', 'a name of 256 characters is refused'),
      (repeat('d', 256), null, '1 day', 'deviceId: must have 1 to 255 characters.', 'an id of 256 characters is refused'),
      ('d', '', '1 day', 'deviceName: must have 1 to 255 characters.', 'an empty name is refused'),
      (' ', 'D', '1 day', 'deviceId: must have a visible character.', 'an id of blanks is refused'),
      ('d', e'\u200b', '1 day', 'deviceName: must have a visible character.', 'a name that nobody sees is refused'),
      ('d', 'D', null, 'ttl: must be from 0 to 100 years.', 'a session without an end is refused'),
      ('d', 'D', '-1 s', 'ttl: must be from 0 to 100 years.', 'a session that ended before it began is refused'),
      ('d', 'D', '100 years 1 us', 'ttl: must be from 0 to 100 years.', 'a session of over 100 years is refused'),
      ('d', 'D', '178000000 years', 'ttl: must be from 0 to 100 years.', 'a session without end in sight is refused')
  ) as c (device_id, device_name, ttl, detail, description);
select isnt(
           (auth.log_in(email_of('ada'), digest_of('ada'), repeat('d', length), repeat('n', length), ttl)).session_id,
           null, description
       )
  from (values
      (1, interval '0', 'the shortest of each are taken'), (255, '100 years', 'so are the longest')
  ) as c (length, ttl, description);
reset role;


-- Where nothing can be written

savepoint read_only;
set local transaction_read_only = on;
set local role mana_api;
select throws_ok(
           format('select auth.log_in(%L, %L, null, null, %L)', address, 'wrong', '1 day'), '25006', null, description
       )
  from (values
      (email_of('ada'), 'a wrong password cannot be noted'), (email_of('nobody'), 'an unknown address fails alike')
  ) as c (address, description);
rollback to savepoint read_only;


-- What it costs

-- The work of bcrypt is not measured but seen: this takes the place of crypt() and notes the salt.
create or replace function extensions.crypt(text, text) returns text language sql as $$
    select set_config('tap.salt', $2, true)
$$;
create function tap.salt_of_login(p_name text)
returns text
language plpgsql
as $$
begin
    perform set_config('tap.salt', '', true), tap.log_in(p_name, 'wrong');
    return left(current_setting('tap.salt'), 7);
end
$$;
select is(salt_of_login('emil'), '$2a$04$', 'a wrong password costs one bcrypt');
select is(salt_of_login('nobody'), '$2a$04$', 'an unknown address costs the same');
select is(salt_of_login('dora'), '$2a$04$', 'a user without a password costs the same');

select * from finish();
rollback;
