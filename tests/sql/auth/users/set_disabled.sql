-- auth.set_disabled: for administrators, who connect as themselves and not through the gateway.
begin;
\ir ../../setup.psql
select plan(18);

select make_users('ada', 'bob', 'cleo');
update auth.users set deleted_at = base.clock() where id = id_of('cleo');
select auth.log_in(email_of('ada'), digest_of('ada'), 'tablet', null, '7 days') \gset

create function tap.disabled_at() returns timestamptz language sql as $$
    select disabled_at from auth.users where id = id_of('ada')
$$;

select set_clock('2030-01-02 00:00Z');
select auth.set_disabled(upper(email_of('ada')), true);
select is(disabled_at(), '2030-01-02 00:00Z', 'the user with this address is disabled, in any letter case');
select is(
    (select count(*) from auth.sessions where user_id = id_of('ada') and revoked_at is null), 0::bigint,
    'all sessions of the user end'
);
select is(
    (select count(*) from auth.sessions where user_id = id_of('bob') and revoked_at is null), 1::bigint,
    'another user''s go on'
);
select is(
    (select free_credits_remaining from credits.balances where user_id = id_of('ada')), 150::bigint, 'the credits stay'
);
select is(
    (select count(*) from auth.security_events where user_id = id_of('ada') and event_type = 'disabled'), 1::bigint,
    'it is noted'
);

select set_clock('2030-01-03 00:00Z');
select auth.set_disabled(email_of('ada'), true);
select is(disabled_at(), '2030-01-02 00:00Z', 'disabling again does not change since when');
select is(
    (select array_agg(distinct revoked_at) from auth.sessions where user_id = id_of('ada')),
    '{2030-01-02 00:00Z}'::timestamptz[], 'nor when the sessions ended'
);
select is(
    (select updated_at from auth.users where id = id_of('ada')), '2030-01-03 00:00Z', 'but is a change of the user'
);

select auth.set_disabled(email_of('ada'), false);
select is(disabled_at(), null, 'the account can be opened again');
select is(
    (select count(*) from auth.security_events where user_id = id_of('ada') and event_type = 'enabled'), 1::bigint,
    'which is noted too'
);
set local role mana_api;
select refused_ok(
    $$ select auth.begin_request(id_of('ada'), claims_of('ada'), '') $$,
    'PT401', 'session_ended', 'Invalid token: this session has ended. Log in again.', 'the sessions of before do not come back'
);
select is(
    (auth.refresh_session(id_of('ada'), token_of('ada'), '7 days')).user_id, null, 'nor do their refresh tokens'
);
select is(
    (auth.log_in(email_of('ada'), digest_of('ada'), null, null, '7 days')).user_id, id_of('ada'), 'the user can log in'
);
select throws_ok(
    $$ select auth.set_disabled(email_of('bob'), true) $$, '42501', 'permission denied for function set_disabled',
    'the gateway may disable nobody'
);
reset role;

select refused_ok(
    $$ select auth.set_disabled('nobody@pgtap.invalid', true) $$,
    'PT404', 'not_found', 'There is no user with this e-mail address.', 'an unknown address is not there'
);
select refused_ok(
    $$ select auth.set_disabled(email_of('cleo'), true) $$,
    'PT404', 'not_found', 'There is no user with this e-mail address.', 'nor is a deleted user'
);

select auth.set_disabled(email_of('ada'), true);
select refused_ok(
    $$ select auth.set_disabled(email_of('ada'), null) $$,
    'PT400', 'invalid_request', 'disabled: is required.', 'it has to be said which'
);
select isnt(disabled_at(), null, 'and a disabled account stays so');

select * from finish();
rollback;
