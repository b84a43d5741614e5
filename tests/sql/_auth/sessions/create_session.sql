-- _auth.create_session: what it clears away. What it makes is in auth/log_in.sql.
begin;
\ir ../../setup.psql
select plan(5);

select make_users('ada', 'bob');

-- Sessions of both, by the moment that they ended, and one whose tokens have run out only partly.
create function tap.add_session(p_name text, p_label text, p_expires_at timestamptz, p_revoked_at timestamptz)
returns void
language sql
as $$
    with s as (
        insert into auth.sessions (
            user_id, id, device_id, refresh_secret, created_at, last_activity_at, expires_at, revoked_at
        )
        values (
            id_of(p_name), gen_random_uuid(), p_label, sha256('s'), base.clock(), base.clock(),
            p_expires_at, p_revoked_at
        )
        returning *
    )
    insert into auth.refresh_tokens (user_id, hash, session_id, issued_at, expires_at)
    select user_id, sha256(convert_to(id::text, 'UTF8')), id, created_at, expires_at from s
$$;

select set_clock('2030-03-01 00:00Z');
select add_session('ada', 'expired 30 days ago', '2030-01-30 00:00Z', null);
select add_session('ada', 'expired less than 30 days ago', '2030-01-30 00:00:01Z', null);
select add_session('ada', 'revoked 30 days ago', '2030-03-07 00:00Z', '2030-01-30 00:00Z');
select add_session('ada', 'revoked less than 30 days ago', '2030-03-07 00:00Z', '2030-01-30 00:00:01Z');
select add_session('ada', 'expires now', '2030-03-01 00:00Z', null);
select add_session('ada', 'live', '2030-03-01 00:00:01Z', null);
select add_session('bob', 'expired 30 days ago', '2030-01-30 00:00Z', null);

set local role mana_api;
select auth.log_in(email_of('ada'), digest_of('ada'), 'new', null, '7 days');
reset role;

select set_eq(
    $$ select device_id from auth.sessions where user_id = id_of('ada') $$,
    array['expired less than 30 days ago', 'revoked less than 30 days ago', 'expires now', 'live', 'new'],
    'sessions that ended 30 days ago are taken away, others stay'
);
select set_eq(
    $$ select s.device_id from auth.refresh_tokens join auth.sessions as s on s.id = session_id
        where s.user_id = id_of('ada') $$,
    array['revoked less than 30 days ago', 'live', 'new'],
    'so are tokens past their time'
);
select is_empty(
    $$ select from auth.refresh_tokens as t
        where not exists (select from auth.sessions as s where s.user_id = t.user_id and s.id = t.session_id) $$,
    'no token stays without its session'
);
select set_eq(
    $$ select device_id from auth.sessions where user_id = id_of('bob') $$,
    array['phone', 'expired 30 days ago'],
    'another user''s sessions are left alone'
);
select is(
    (select count(*) from auth.refresh_tokens where user_id = id_of('bob')), 2::bigint, 'and so are their tokens'
);

select * from finish();
rollback;
