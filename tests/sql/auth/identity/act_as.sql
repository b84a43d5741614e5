-- auth.act_as: how a trusted backend says whom it works for.
begin;
\ir ../../setup.psql
select plan(8);

select make_users('ada', 'bob', 'cleo', 'root');
select auth.set_role(email_of('root'), 'admin');
update auth.users set disabled_at = base.clock() where id = id_of('bob');
update auth.users set deleted_at = base.clock() where id = id_of('cleo');
select auth.begin_anonymous_request('') \gset

set local role mana_backend;
select auth.act_as(id_of('ada'));
select is(auth.uid(), id_of('ada'), 'the user is the one that was named');
select is(auth.role(), 'user', 'with a user''s rights');
select is(auth.session_id(), null, 'and without a session');

select auth.act_as(id_of('root'));
select is((auth.uid(), auth.role()), (id_of('root'), 'user'::text), 'acting as an admin gives no admin''s rights');

select refused_ok(
    $$ select auth.act_as(id_of('bob')) $$, 'PT401', 'account_disabled', 'This account is disabled.',
    'a disabled user is refused'
);
select refused_ok(
    $$ select auth.act_as(id_of('cleo')) $$, 'PT404', 'not_found', 'There is no such user.',
    'a deleted user is not there'
);
select refused_ok(
    $$ select auth.act_as(gen_random_uuid()) $$, 'PT404', 'not_found', 'There is no such user.', 'nor is an unknown one'
);
select refused_ok($$ select auth.act_as(null) $$, 'PT404', 'not_found', 'There is no such user.', 'nor is nobody');

select * from finish();
rollback;
