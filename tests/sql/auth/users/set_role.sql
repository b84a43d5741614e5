-- auth.set_role: for administrators, who connect as themselves and not through the gateway.
begin;
\ir ../../setup.psql
select plan(10);

select make_users('ada', 'bob', 'cleo');
update auth.users set deleted_at = base.clock() where id = id_of('cleo');

select set_clock('2030-01-02 00:00Z');
select auth.set_role(upper(email_of('ada')), 'admin');
select is(
    (select (role, updated_at)::text from auth.users where id = id_of('ada')), '(admin,"2030-01-02 00:00:00+00")',
    'the user with this address has the role, in any letter case'
);
select is((select role::text from auth.users where id = id_of('bob')), 'user', 'and nobody else has');
select is(
    (select count(*) from auth.security_events where user_id = id_of('ada') and event_type = 'role_changed'), 1::bigint,
    'it is noted'
);
select is(
    (auth.uid(), auth.role()), (id_of('ada'), null::text),
    'the rest of the transaction is for that user, without its new rights'
);

set local role mana_api;
select refused_ok(
    $$ select auth.begin_request(id_of('ada'), claims_of('ada'), '') $$,
    'PT401', 'role_changed', 'Invalid token: the role of this account has changed. Refresh it.',
    'an access token with the old role is refused'
);
select is(
    (auth.refresh_session(id_of('ada'), token_of('ada'), '7 days')).role, 'admin', 'a refresh brings the new one'
);
select throws_ok(
    $$ select auth.set_role(email_of('bob'), 'admin') $$, '42501', 'permission denied for function set_role',
    'the gateway may give nobody a role'
);
reset role;

select refused_ok(
    $$ select auth.set_role('nobody@pgtap.invalid', 'admin') $$,
    'PT404', 'not_found', 'There is no user with this e-mail address.', 'an unknown address is not there'
);
select refused_ok(
    $$ select auth.set_role(email_of('cleo'), 'admin') $$,
    'PT404', 'not_found', 'There is no user with this e-mail address.', 'nor is a deleted user'
);
select refused_ok(
    $$ select auth.set_role(email_of('bob'), null) $$,
    'PT400', 'invalid_request', 'role: is required.', 'nobody is without a role'
);

select * from finish();
rollback;
