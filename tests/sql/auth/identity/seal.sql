-- The seal: an identity holds in the transaction and the process that found it out, and a client that
-- writes the settings itself is nobody. auth.require_user, auth.require_users, _auth.seal.
begin;
\ir ../../setup.psql
select plan(25);

select make_users('ada', 'bob');
select auth.set_disabled(email_of('bob'), true);
select auth.begin_anonymous_request('') \gset

-- What a client can write: any of the four settings.
create function tap.forge(p_user_ids text, p_claims text, p_seal text) returns void language sql as $$
    select set_config('request.user_ids', p_user_ids, true), set_config('request.jwt.claims', p_claims, true),
           set_config('request.seal', p_seal, true)
$$;

create function tap.nobody_ok(p_description text) returns setof text language sql as $$
    select throws_ok(s, 'PT401', 'authentication_required', p_description || ': ' || s)
      from unnest(array[
          'select credits.use_credits(1, ''shop'', ''Order'')', 'select credits.get_balance()',
          'select * from credits.list_transactions()', 'select * from credits.find_transaction(''k'')',
          'select * from credits.list_purchases()'
      ]) as s
$$;

-- A backend
set local role mana_backend;
select forge(id_of('bob')::text, claims_of('bob'), '') \gset
select nobody_ok('settings without a seal are nobody''s');

select auth.act_as(id_of('ada'));
select lives_ok('select credits.get_balance()', 'the user that act_as has found is served');
select current_setting('request.seal') as seal, current_setting('request.jwt.claims') as claims \gset
select forge(id_of('bob')::text, :'claims', :'seal') \gset
select nobody_ok('the seal of one user is none for another');
select forge(id_of('ada')::text || ' ' || id_of('bob'), :'claims', :'seal') \gset
select throws_ok(
    'select credits.get_balance()', 'PT401', 'authentication_required', 'nor for a second user beside the first'
);
select forge(id_of('ada')::text, claims_of('ada', 'admin'), :'seal') \gset
select throws_ok('select credits.get_balance()', 'PT401', 'authentication_required', 'nor with other claims');
select forge(id_of('ada')::text, :'claims', :'seal') \gset
select lives_ok('select credits.get_balance()', 'what act_as has left is taken back as it was');
select throws_ok(
    $$ select auth.act_as(id_of('bob')) $$, 'PT401', 'account_disabled', 'a disabled user is refused where a user begins'
);
select throws_ok('select * from auth.seal_key', '42501', null, 'a backend does not read the key');

-- The gateway
set local role mana_gateway;
select throws_ok('select auth.act_as(null)', '42501', null, 'the gateway does not act as anybody');
select throws_ok(
    'select auth.begin_requests(null, null, null)', '42501', null, 'nor begin a request outside of an api function'
);

-- Many at once
set local role mana_api;
select auth.begin_requests(array[id_of('ada')], array[claims_of('ada')], null) \gset
select is(
    (select code from credits.get_balances(array[id_of('ada')], true)), null, 'those who have begun are served'
);
select throws_ok(
    $$ select * from credits.get_balances(array[id_of('ada'), id_of('bob')], false) $$,
    'PT401', 'authentication_required', 'one among them for whom nobody has begun is not'
);
select throws_ok(
    $$ select * from credits.spend_all(
           array[row(1, id_of('bob'), 1, 'shop', 'Order', null, null, null)::credits.spend_request], true
       ) $$,
    'PT401', 'authentication_required', 'nor does another pay'
);
reset role;

select is(
    (select 0 where _auth.seal() = encode(extensions.hmac(convert_to(concat(
         current_setting('request.user_ids'), ' ', current_setting('request.jwt.claims')), 'UTF8')
         || timestamptz_send(transaction_timestamp()) || int4send(pg_backend_pid()),
         (select key from auth.seal_key), 'sha256'), 'hex')),
    0, 'the seal is an HMAC over users, claims, transaction and process'
);
-- Beside functions of the release before
update auth.seal_key set required_from = now() + interval '1 microsecond';
set local role mana_backend;
select forge('', claims_of('ada'), '') \gset
select lives_ok(
    'select credits.get_balance()', 'a transaction from before seals were needed has the user of its claims'
);
reset role;
update auth.seal_key set required_from = now();
set local role mana_backend;
select throws_ok('select credits.get_balance()', 'PT401', 'authentication_required', 'one from then on has not');
reset role;
select ledger_is_sound();

select * from finish();
rollback;
