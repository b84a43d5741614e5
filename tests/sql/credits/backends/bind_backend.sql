-- credits.bind_backend, credits.list_backends: a backend spends for its own apps and sees those alone.
-- The login role counts, so the suite takes the place of one (SET SESSION AUTHORIZATION).
begin;
\ir ../../setup.psql
select plan(35);

select make_users('ada');
create role tap_shop login in role mana_backend;
create role tap_chat login in role mana_backend;
create role tap_other login;
select auth.act_as(id_of('ada'));
select credits.use_credits(1, 'news', 'A paper') \gset

create function tap.seen() returns text language sql as $$
    select coalesce(string_agg(distinct app_id, ' ' order by app_id), 'nothing') from credits.list_transactions()
$$;
create function tap.buy(p_app_id text) returns text language sql as $$
    select format('select credits.use_credits(1, %L, %L)', p_app_id, 'Order')
$$;
create function tap.bound_to(p_role name) returns text[] language sql as $$
    select app_ids from credits.list_backends() where role_name = p_role
$$;

-- Not bound
set local session authorization tap_shop;
select auth.act_as(id_of('ada'));
select refused_ok(
    buy('shop'), 'PT403', 'app_not_allowed', 'This backend does not work for this app.',
    'a backend that is not bound spends for no app'
);
select is(seen(), 'nothing', 'and sees no transaction');
reset session authorization;

-- Bound
select credits.bind_backend('tap_shop', '{shop,store}');
select credits.bind_backend('tap_chat', '{chat}');
set local session authorization tap_shop;
select auth.act_as(id_of('ada'));
select lives_ok(buy('shop'), 'a bound backend spends for its app');
select lives_ok(buy('store'), 'and for its other one');
select throws_ok(buy('chat'), 'PT403', 'app_not_allowed', 'not for another''s');
select throws_ok(buy('*'), 'PT403', 'app_not_allowed', 'nor for one with the name of all');
set local role mana_backend;
select throws_ok(buy('chat'), 'PT403', 'app_not_allowed', 'SET ROLE does not change whose login it is');
select is(seen(), 'shop store', 'it sees its own transactions alone');
reset session authorization;
set local session authorization tap_chat;
select auth.act_as(id_of('ada'));
select is(seen(), 'nothing', 'so does another');
reset session authorization;

-- Bound anew
select credits.bind_backend('tap_shop', '{store}');
set local session authorization tap_shop;
select auth.act_as(id_of('ada'));
select throws_ok(buy('shop'), 'PT403', 'app_not_allowed', 'an app that was taken away is refused');
select is(seen(), 'store', 'and not seen');
reset session authorization;
select credits.bind_backend('tap_shop', '{*}');
set local session authorization tap_shop;
select auth.act_as(id_of('ada'));
select is(seen(), 'news shop store', 'a backend of all apps sees the transactions of all');
select throws_ok(
    $$ select credits.bind_backend('tap_shop', '{chat}') $$, '42501', null, 'a backend does not bind itself'
);
reset session authorization;

select results_eq(
    $$ select role_name::text collate "C", app_ids from credits.list_backends() where role_name ~ '^tap_' $$,
    $$ values ('tap_chat' collate "C", array['chat']), ('tap_shop', array['*']) $$, 'an administrator sees who is bound to what'
);

-- Invalid input
create role tap_group in role mana_backend;
create role tap_superuser login superuser in role mana_backend;
select refused_ok(
    format('select credits.bind_backend(%L, %L)', role, '{shop}'), 'PT400', 'invalid_request',
    'role: must be a login role and a member of mana_backend.', description
)
  from (values
      (null, 'no role is refused'), ('tap_nobody', 'a role that is not there is refused'),
      ('tap_other', 'so is one that is no backend'), ('tap_group', 'and a role without a login'),
      ('tap_superuser', 'a superuser is not bound: it may do anything')
  ) as c (role, description);
select refused_ok(
    format('select credits.bind_backend(%L, %L)', 'tap_chat', app_ids), 'PT400', 'invalid_request',
    'app_ids: each must be * or have 1 to 100 letters and digits of ASCII, with . _ - after the first.', description
)
  from (values
      (null::text[], 'no array is refused'), ('{chat,null}', 'nor does an array with a null pass'),
      ('{""}', 'an empty name is refused'), ('{"my chat"}', 'an app that could not spend is refused'),
      ('{chat*}', 'a star within a name is no pattern'), (array[repeat('a', 101)], 'a name of 101 characters is refused')
  ) as c (app_ids, description);
select is(bound_to('tap_chat'), '{chat}', 'a refused call changes nothing');
select lives_ok($$ select credits.bind_backend('tap_chat', '{news,chat,news}') $$, 'an app may be named twice');
select is(bound_to('tap_chat'), '{chat,news}', 'and is bound once');
select is(bound_to('tap_superuser'), null, 'a superuser is not listed');
select throws_ok(
    $$ select credits.bind_backend('tap_nobody', '{}') $$, 'PT400', 'invalid_request', 'nothing is taken from nobody'
);

-- Taken away
alter role tap_chat nologin;
alter role tap_shop rename to tap_gone;
select is(bound_to('tap_chat') || bound_to('tap_shop'), '{chat,news,*}', 'what a former backend has is listed');
select lives_ok($$ select credits.bind_backend('tap_chat', '{}') $$, 'it can be taken from a role without a login');
select lives_ok($$ select credits.bind_backend('tap_shop', '{}') $$, 'and from a role that is gone');
select is(
    coalesce(bound_to('tap_chat'), bound_to('tap_shop')), null, 'then nothing of them is left'
);
select ledger_is_sound();

select * from finish();
rollback;
