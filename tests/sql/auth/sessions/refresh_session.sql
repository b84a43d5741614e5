-- auth.refresh_session
begin;
\ir ../../setup.psql
select plan(67);

select make_users('ada', 'bob', 'cleo', 'dora', 'emil', 'fay', 'gus', 'hana', 'ivo', 'jana', 'kai', 'lena', 'mia');

-- The successor, and null when the token is refused.
create function tap.refresh(p_name text, p_token text)
returns text
language sql
as $$
    select (auth.refresh_session(id_of(p_name), p_token, '7 days')).refresh_token
$$;

create function tap.token_row(p_token text) returns auth.refresh_tokens language sql security definer as $$
    select * from auth.refresh_tokens where hash = sha256(convert_to(p_token, 'UTF8'))
$$;

create function tap.session_row(p_name text) returns auth.sessions language sql security definer as $$
    select * from auth.sessions where id = tap.session_of(p_name)
$$;

create function tap.reuses(p_name text) returns bigint language sql security definer as $$
    select count(*) from auth.security_events
     where user_id = tap.id_of(p_name) and event_type = 'refresh_token_reused'
$$;

-- The other events of refreshes, with their session and where they came from.
create function tap.refresh_events(p_name text) returns setof text language sql security definer as $$
    select concat_ws(' ', event_type, session_id, host(ip_address), user_agent, request_id)
      from auth.security_events
     where user_id = tap.id_of(p_name) and event_type in ('refresh_token_repeated', 'refresh_refused')
$$;

create function tap.apart_from(p_name text, p_session_id uuid) returns text language sql security definer as $$
    select concat(
        (select string_agg(s::text, ' ' order by s.id) from auth.sessions as s
          where s.user_id = tap.id_of(p_name) and s.id <> p_session_id),
        (select string_agg(t::text, ' ' order by t.hash) from auth.refresh_tokens as t
          where t.user_id = tap.id_of(p_name) and t.session_id <> p_session_id)
    )
$$;

set local role mana_api;
select auth.begin_anonymous_request('{"ip": "192.0.2.7", "userAgent": "curl", "requestId": "r-1"}');


-- The owner: a token that is used for the first time

select set_clock('2030-01-01 01:00Z');
select * from auth.refresh_session(id_of('ada'), token_of('ada'), '7 days') \gset ada_

select is(
    (:'ada_user_id', :'ada_email', :'ada_name', :'ada_role', :'ada_session_id', :'ada_device_id')::text,
    (id_of('ada'), email_of('ada'), 'Ada', 'user', session_of('ada'), 'phone')::text,
    'a refresh returns who the user is and which session it was'
);
select isnt(:'ada_refresh_token'::text, token_of('ada'), 'and another token');
select is((token_row(token_of('ada'))).used_at, '2030-01-01 01:00Z', 'the token that was presented is used');
select is((token_row(:'ada_refresh_token')).used_at, null, 'its successor is not');
select is((token_row(:'ada_refresh_token')).session_id, session_of('ada'), 'and is of the same session');
select is(
    (token_row(:'ada_refresh_token')).expires_at, '2030-01-08 01:00Z', 'and good for the time that was asked for'
);
select is(
    ((session_row('ada')).last_activity_at, (session_row('ada')).expires_at),
    ('2030-01-01 01:00Z'::timestamptz, '2030-01-08 01:00Z'::timestamptz),
    'the session goes on as long as its newest token'
);


-- The owner: the same token again, while its successor is unused

select set_clock('2030-01-01 01:00:10Z');
select is(
    refresh('ada', token_of('ada')), :'ada_refresh_token', 'the same token within 10 seconds returns the same successor'
);
select is(
    (token_row(token_of('ada'))).used_at, '2030-01-01 01:00Z', 'a retry does not make the 10 seconds begin again'
);
select is((session_row('ada')).last_activity_at, '2030-01-01 01:00Z', 'nor the session last longer');
select is(
    refresh('ada', refresh('ada', :'ada_refresh_token')) is not null, true, 'the successor works, and so does its own'
);

-- 50 at once are 50 retries, as far as one connection can show it.
select is(
    (select count(distinct refresh('bob', token_of('bob'))) from generate_series(1, 50)), 1::bigint,
    '50 refreshes with one token return one successor'
);
reset role;
select is(
    (select count(*) from auth.refresh_tokens where user_id = id_of('bob')), 2::bigint, 'and leave one lineage'
);
set local role mana_api;
select is(reuses('ada') + reuses('bob'), 0::bigint, 'none of it is noted as reuse');
select results_eq(
    $$ select refresh_events('ada') $$,
    $$ values ('refresh_token_repeated ' || session_of('ada') || ' 192.0.2.7 curl r-1') $$,
    'but the retry is noted, with where it came from'
);
select is((select count(*) from refresh_events('bob')), 49::bigint, 'as is each of 49');


-- A thief: the same token after 10 seconds

select set_clock('2030-01-01 01:00Z');
select refresh('cleo', token_of('cleo')) as successor \gset cleo_
reset role;
select auth.log_in(email_of('cleo'), digest_of('cleo'), 'tablet', null, '7 days');
set local role mana_api;
select set_clock('2030-01-01 01:00:10.000001Z');
select is(refresh('cleo', token_of('cleo')), null, 'a token that comes back after 10 seconds is refused');
select is((session_row('cleo')).revoked_at, '2030-01-01 01:00:10.000001Z', 'its session is revoked');
select is(refresh('cleo', :'cleo_successor'), null, 'so that the successor is refused too');
reset role;
select results_eq(
    $$ select session_id, host(ip_address), user_agent, request_id
         from auth.security_events where user_id = id_of('cleo') and event_type = 'refresh_token_reused' $$,
    $$ values (session_of('cleo'), '192.0.2.7', 'curl', 'r-1') $$,
    'it is noted once, with where it came from'
);
select is(
    (select count(*) from auth.sessions where user_id = id_of('cleo') and revoked_at is null), 1::bigint,
    'the user''s other sessions go on'
);
set local role mana_api;


-- A thief: the same token after its successor was used

select refresh('dora', token_of('dora')) as successor \gset dora_
select refresh('dora', :'dora_successor') as newest \gset dora_
select is(refresh('dora', token_of('dora')), null, 'a token whose successor was used is refused at once');
select isnt((session_row('dora')).revoked_at, null, 'its session is revoked');
select is(refresh('dora', :'dora_newest'), null, 'so that the newest token is refused too');
select is(reuses('dora'), 1::bigint, 'it is noted once');
select is(refresh('dora', token_of('dora')), null, 'a token of a revoked session is refused');
select is(reuses('dora'), 1::bigint, 'and not noted again as reuse');
select results_eq(
    $$ select refresh_events('dora') $$,
    $$ select 'refresh_refused ' || session_of('dora') || ' 192.0.2.7 curl r-1' from generate_series(1, 2) $$,
    'each token that comes after the end is noted'
);


-- The owner: too late

select set_clock('2030-01-08 00:00Z');
select is(refresh('emil', token_of('emil')), null, 'a token is refused when its time is over');
select is((session_row('emil')).revoked_at, null, 'which revokes nothing');
select is_empty($$ select refresh_events('emil') $$, 'and is nothing to note');
select set_clock('2030-01-07 23:59:59.999999Z');
select isnt(refresh('emil', token_of('emil')), null, 'it works to the last microsecond');

select set_clock('2030-01-01 01:00Z');
reset role;
select come_as('fay') \gset
set local role mana_api;
select auth.log_out();
select is(refresh('fay', token_of('fay')), null, 'a token is refused after logout');
select is(reuses('fay'), 0::bigint, 'which is no reuse');


-- Another user

select is(refresh('hana', token_of('gus')), null, 'a token is refused with another user''s id');
select is((token_row(token_of('gus'))).used_at, null, 'which does not use it');
select is((session_row('gus')).revoked_at, null, 'and revokes nothing of its user');
select is((session_row('hana')).revoked_at, null, 'nor of the other');
select isnt(refresh('gus', token_of('gus')), null, 'its user can still use it');


-- Anonymous: garbage

select is(refresh('hana', token), null, description)
  from (values
      ('garbage', 'garbage is refused'),
      ('', 'an empty token is refused'),
      (null, 'no token is refused'),
      (upper(token_of('hana')), 'a token in other letter case is refused'),
      (token_of('hana') || ' ', 'a token with a space after it is refused')
  ) as c (token, description);
select is(
    (auth.refresh_session(null, token_of('hana'), '7 days')).refresh_token, null, 'a token of no user is refused'
);


-- Invalid lifetimes

select refused_ok(
           format('select auth.refresh_session(%L, %L, %L)', id_of('hana'), token_of('hana'), ttl),
           'PT400', 'invalid_request', 'ttl: must be from 0 to 100 years.', description
       )
  from (values
      (null, 'a token without an end is refused'),
      ('-1 s', 'a token that ended before it began is refused'),
      ('100 years 1 us', 'a token of over 100 years is refused'),
      ('178000000 years', 'a token without end in sight is refused')
  ) as c (ttl, description);
select isnt((auth.refresh_session(id_of('hana'), token_of('hana'), ttl)).refresh_token, null, description)
  from (values
      (interval '100 years', 'a token of 100 years is made'), ('0', 'and made again, whatever the lifetime now')
  ) as c (ttl, description);


-- What happened to the user in between

reset role;
update auth.users set disabled_at = base.clock() where id = id_of('ivo');
update auth.users set deleted_at = base.clock() where id = id_of('jana');
update auth.users set role = 'admin', name = 'K.' where id = id_of('kai');
set local role mana_api;
select is(refresh('ivo', token_of('ivo')), null, 'a disabled user''s token is refused');
select is(refresh('jana', token_of('jana')), null, 'a deleted user''s token is refused');
select is(
    (select string_agg(split_part(event, ' ', 1), ' ') from refresh_events('ivo') as e (event)), 'refresh_refused',
    'at a disabled account it is noted'
);
select is_empty($$ select refresh_events('gus') $$, 'a token with another user''s id is not');
select results_eq(
    $$ select role::text, name from auth.refresh_session(id_of('kai'), token_of('kai'), '7 days') $$,
    $$ values ('admin', 'K.') $$,
    'a refresh brings the role and the name as they are now'
);


-- Another device of the same user

select session_id as laptop, refresh_token as laptop_token
  from auth.log_in(email_of('lena'), digest_of('lena'), 'laptop', null, '7 days') \gset
select apart_from('lena', session_of('lena')) as before_phone \gset

select set_clock('2030-01-01 02:00Z');
select session_id, device_id, refresh_token
  from auth.refresh_session(id_of('lena'), token_of('lena'), '7 days') \gset phone_
select is((:'phone_session_id', :'phone_device_id')::text, (session_of('lena'), 'phone')::text, 'the phone''s own token');
select is(apart_from('lena', session_of('lena')), :'before_phone', 'leaves the laptop''s session and token as they are');
select session_id, device_id from auth.refresh_session(id_of('lena'), :'laptop_token', '7 days') \gset laptop_
select is((:'laptop_session_id', :'laptop_device_id')::text, (:'laptop', 'laptop')::text, 'the laptop''s own token works');
select refresh('lena', :'phone_refresh_token') as phone_next \gset
select isnt(nullif(:'phone_next', ''), null, 'and so does the phone''s next one');

select set_clock('2030-01-01 03:00Z');
select is(refresh('lena', :'laptop_token'), null, 'a token of the laptop that is used twice is refused');
select isnt(refresh('lena', :'phone_next'), null, 'and ends the laptop''s session, not the phone''s');


-- What a session leaves behind: tokens past their time, until the next day's first refresh

reset role;
create function tap.tokens_left(p_session_id uuid) returns bigint language sql security definer as $$
    select count(*) from auth.refresh_tokens where session_id = p_session_id
$$;
create function tap.next_token(p_token text, p_ttl interval) returns text language sql as $$
    select (auth.refresh_session(tap.id_of('mia'), p_token, p_ttl)).refresh_token
$$;

select set_clock('2030-01-01 23:00Z');
select session_id as laptop from auth.log_in(email_of('mia'), digest_of('mia'), 'laptop', null, '1 minute') \gset mia_
set local role mana_api;
select next_token(token_of('mia'), '1 hour 1 minute') as token \gset mia_
select set_clock('2030-01-02 00:00Z');
select next_token(:'mia_token', '1 day') as token \gset mia_
select is(tokens_left(session_of('mia')), 3::bigint, 'what was used is kept until it is past its time');
select set_clock('2030-01-02 23:59Z');
select next_token(:'mia_token', '7 days') as token \gset mia_
select is(tokens_left(session_of('mia')), 4::bigint, 'and for the rest of that day');
select set_clock('2030-01-03 00:00Z');
select isnt(next_token(:'mia_token', '7 days'), null, 'the next day''s first refresh returns a successor');
reset role;
select is(
    (select array_agg(expires_at <= '2030-01-03 00:00Z' order by issued_at)
       from auth.refresh_tokens where session_id = session_of('mia')),
    array[false, false, false], 'and takes away what is past its time, nothing else'
);
select is(tokens_left(:'mia_laptop'), 1::bigint, 'nor of another device');
set local role mana_api;

select * from finish();
rollback;
