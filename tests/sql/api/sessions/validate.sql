-- api.validate. Each reason to say no is in api/claims.sql.
begin;
\ir ../../alone.psql
\ir ../../setup.psql
select plan(5);

select make_users('ada');
set local role mana_gateway;

select is(
    (select (status, body::jsonb, headers)::text from api.validate(id_of('ada'), claims_of('ada'), null)),
    (200, jsonb_build_object('valid', true, 'payload', claims_of('ada')::json), null::json)::text,
    'a token that works is valid, with its claims'
);
select is(
    (select (status, body::jsonb, headers)::text from api.validate(id_of('ada'), '{"sub": "somebody else"}', null)),
    (200, '{"valid": false, "error": "invalid_token"}'::jsonb, null::json)::text,
    'one that does not is not, with the reason, and answers 200 all the same'
);
reset role;
select is(auth.uid(), null, 'and leaves no user behind');

update auth.sessions set revoked_at = base.clock() where id = session_of('ada');
set local role mana_gateway;
select is(
    (select body::jsonb from api.validate(id_of('ada'), claims_of('ada'), null)),
    '{"valid": false, "error": "session_ended"}', 'a session that was revoked is not valid any more'
);

-- What is no refusal stays an error
reset role;
alter table auth.sessions rename to sessions_gone;
set local role mana_gateway;
select throws_ok(
    $$ select api.validate(id_of('ada'), claims_of('ada'), null) $$, '42P01', null,
    'a fault is not taken for a bad token'
);

select * from finish();
rollback;
