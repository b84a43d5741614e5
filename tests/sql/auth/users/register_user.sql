-- auth.register_user
begin;
\ir ../../alone.psql
\ir ../../setup.psql
select plan(35);

create table tap.before as
select (select count(*) from auth.users) as users, (select count(*) from credits.balances) as balances;

-- Anonymous, through the gateway
set local role mana_api;
select auth.begin_anonymous_request('{"ip": "192.0.2.7", "userAgent": "curl", "requestId": "r-1"}');

select * from auth.register_user('Ada.LOVELACE@pgtap.invalid', 'a digest', 'Ada') \gset ada_
reset role;

select is(:'ada_email'::text, 'ada.lovelace@pgtap.invalid', 'the address is kept in lower case');
select is(
    (select to_jsonb(u) - 'id' from auth.users as u where id = :'ada_id'),
    '{"email": "ada.lovelace@pgtap.invalid", "name": "Ada", "role": "user", "email_verified": false,
      "created_at": "2030-01-01T00:00:00+00:00", "updated_at": "2030-01-01T00:00:00+00:00",
      "disabled_at": null, "deleted_at": null}',
    'a user is made, with no rights but a user''s'
);
select is(auth.uid(), :'ada_id'::uuid, 'the new user is the user of the transaction');
select is(auth.role(), null, 'without a role');
select matches(
    (select hash from auth.passwords where user_id = :'ada_id'), '^\$2a\$04\$.{53}$',
    'the password is kept as bcrypt of the configured cost'
);
select is(
    (select extensions.crypt('a digest', hash) = hash from auth.passwords where user_id = :'ada_id'), true,
    'of the digest that was given'
);
select is(
    (select to_jsonb(b) - 'user_id' from credits.balances as b where user_id = :'ada_id'),
    '{"balance": 0, "free_credits_remaining": 150, "held": 0, "total_earned": 150, "total_spent": 0, "version": 1,
      "last_daily_reset_at": "2030-01-01T00:00:00+00:00", "created_at": "2030-01-01T00:00:00+00:00",
      "updated_at": "2030-01-01T00:00:00.000001+00:00"}',
    'an account is opened with the signup bonus'
);
select results_eq(
    format($$ select type::text, amount, balance_before, balance_after, description, grant_window
                from credits.transactions where user_id = %L $$, :'ada_id'),
    $$ values ('bonus', 150::bigint, 0::bigint, 150::bigint, 'Signup bonus', 0) $$,
    'the bonus is a transaction'
);
select results_eq(
    format($$ select entry_no, debit_account::text, credit_account::text, amount
                from credits.ledger_entries where user_id = %L $$, :'ada_id'),
    $$ values (1::smallint, 'signup_grants', 'free', 150::bigint) $$,
    'and in the books'
);
select results_eq(
    format($$ select event_type, session_id, host(ip_address), user_agent, request_id
                from auth.security_events where user_id = %L $$, :'ada_id'),
    $$ values ('registered', null::uuid, '192.0.2.7', 'curl', 'r-1') $$,
    'the event is noted with where it came from'
);
select is_empty(
    format('select from auth.sessions where user_id = %L', :'ada_id'), 'registering opens no session'
);
select ledger_is_sound();

-- Refusals
set local role mana_api;
select refused_ok(
    $$ select auth.register_user('ada.lovelace@PGTAP.invalid', 'another digest', 'Eve') $$,
    'PT409', 'email_taken', 'This e-mail address is already registered.',
    'an address that is taken in other letter case is refused'
);
select refused_ok(
    format('select auth.register_user(%L, %L)', email, 'digest'),
    'PT400', 'invalid_request', 'email: must be an e-mail address.', description
)
  from (values
      (null, 'no address is refused'),
      ('', 'an empty address is refused'),
      ('ada', 'an address without an @ is refused'),
      ('a@', 'an address of 2 characters is refused'),
      ('@pgtap.invalid', 'an address that begins with the @ is refused'),
      (repeat('a', 241) || '@pgtap.invalid', 'an address of 255 characters is refused'),
      ('zoe' || chr(776) || '@pgtap.invalid', 'an address with a letter in two parts is refused')
  ) as c (email, description);
select refused_ok(
    format('select auth.register_user(%L, %L)', 'bob@pgtap.invalid', digest),
    'PT400', 'invalid_request', 'password: is required.', description
)
  from (values (null, 'no digest is refused'), ('', 'an empty digest is refused')) as c (digest, description);
select refused_ok(
    format('select auth.register_user(%L, %L, %L)', 'bob@pgtap.invalid', 'digest', name),
    'PT400', 'invalid_request', 'name: must have 1 to 255 characters.', description
)
  from (values
      ('', 'an empty name is refused'), (repeat('n', 256), 'a name of 256 characters is refused')
  ) as c (name, description);
select refused_ok(
    format('select auth.register_user(%L, %L, %L)', 'bob@pgtap.invalid', 'digest', e' \u200b'),
    'PT400', 'invalid_request', 'name: must have a visible character.', 'a name that nobody sees is refused'
);
reset role;

select is((select count(*) from auth.users), (select users + 1 from before), 'a refusal makes no user');
select is((select count(*) from credits.balances), (select balances + 1 from before), 'nor an account');
select is(
    (select extensions.crypt('a digest', hash) = hash from auth.passwords where user_id = :'ada_id'), true,
    'nor changes the password of the one who has the address'
);

-- The shortest and the longest
select * from auth.register_user('a@b', 'digest', 'n') \gset short_
select is(:'short_email'::text, 'a@b', 'an address of 3 characters is taken, with a name of one');
select * from auth.register_user('b@b', 'digest', repeat('n', 255)) \gset long_
select is(length(:'long_name'), 255, 'and a name of 255');

-- All or nothing
alter table auth.security_events add constraint broken check (event_type <> 'registered') not valid;
select throws_ok(
    $$ select auth.register_user('bob@pgtap.invalid', 'digest') $$, '23514', null,
    'when the last step fails, registering fails'
);
alter table auth.security_events drop constraint broken;
select is_empty($$ select from auth.users where email = 'bob@pgtap.invalid' $$, 'and nothing of it stays');

-- Without a bonus
update credits.settings set signup_bonus = 0;
select * from auth.register_user(repeat('c', 240) || '@pgtap.invalid', 'digest') \gset cleo_
select is(
    (select (free_credits_remaining, version)::text from credits.balances where user_id = :'cleo_id'), '(0,0)',
    'a bonus of 0 opens an empty account'
);
select is_empty(format('select from credits.transactions where user_id = %L', :'cleo_id'), 'without a transaction');
select ledger_is_sound();

select * from finish();
rollback;
