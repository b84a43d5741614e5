-- api.register_user. What it writes is in auth/register_user.sql.
begin;
\ir ../../setup.psql
select plan(7);

select make_users('bob');
select come_as('bob') \gset
set local role mana_gateway;

select status, body, headers is null as no_headers, body ->> 'id' as id
  from api.register_user('{"ip": "192.0.2.7"}', 'Ada@PGTAP.invalid', 'digest', 'Ada') \gset

select is(:status, 201, 'registering answers 201');
select is(
    :'body'::jsonb - 'id', '{"email": "ada@pgtap.invalid", "name": "Ada", "createdAt": "2030-01-01T00:00:00.000Z"}',
    'with the user'
);
select is(:'no_headers'::boolean, true, 'and no header');
select is(
    (select body::jsonb - 'id' from api.register_user(null, 'cleo@pgtap.invalid', 'digest', null)),
    '{"email": "cleo@pgtap.invalid", "name": null, "createdAt": "2030-01-01T00:00:00.000Z"}',
    'a name is not needed, nor a context'
);
select refused_ok(
    $$ select api.register_user(null, 'ADA@pgtap.invalid', 'digest', null) $$,
    'PT409', 'email_taken', 'This e-mail address is already registered.', 'a taken address is refused'
);

reset role;
select is(
    (select host(ip_address) from auth.security_events where user_id = :'id'), '192.0.2.7',
    'the new user, and not the one before, has the event'
);
select ledger_is_sound();

select * from finish();
rollback;
