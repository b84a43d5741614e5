-- auth.uid, auth.role, auth.session_id, _auth.request_context: what a transaction knows of its user.
-- _auth.assume_user, auth.begin_anonymous_request: how a user comes and goes.
begin;
\ir ../../setup.psql
select plan(22);

select make_users('ada');

-- Nobody has said who the user is
select is(auth.uid(), null, 'without claims there is no user');
select is(auth.role(), null, 'without claims there is no role');
select is(auth.session_id(), null, 'without claims there is no session');
select is(_auth.request_context('ip'), null, 'without a context there is no address');

-- What a pooled connection reads after somebody else's transaction
select set_config('request.jwt.claims', '', true), set_config('request.context', '', true) \gset
select is(auth.uid(), null, 'with empty claims there is no user');
select is(auth.role(), null, 'with empty claims there is no role');
select is(auth.session_id(), null, 'with empty claims there is no session');
select is(_auth.request_context('ip'), null, 'with an empty context there is no address');

-- A user
select come_as('ada', 'admin') \gset
select set_config('request.context', '{"ip": "192.0.2.7", "userAgent": ""}', true) \gset
select is(auth.uid(), id_of('ada'), 'the user is the claim sub');
select is(auth.role(), 'admin', 'the role is the claim role');
select is(auth.session_id(), session_of('ada'), 'the session is the claim sessionId');
select is(_auth.request_context('ip'), '192.0.2.7', 'the address is the context''s');
select is(_auth.request_context('userAgent'), null, 'what is empty is not known');

select _auth.assume_users(array[id_of('ada')]);
select is(auth.uid(), id_of('ada'), 'an assumed user is the user');
select is(auth.role(), null, 'an assumed user has no role, so it opens no other user''s rows');
select is(auth.session_id(), null, 'an assumed user has no session');

-- Nobody again
select auth.begin_anonymous_request('{"ip": "192.0.2.8"}');
select is(auth.uid(), null, 'an anonymous request forgets the user before it');
select is(_auth.request_context('ip'), '192.0.2.8', 'and notes where it came from');


-- A context that is not as it should be
select auth.begin_anonymous_request('nonsense');
select is(_auth.request_context('userAgent'), null, 'in a context that is no JSON nothing is known');
select auth.begin_anonymous_request(repeat('[', 100000));
select is(_auth.request_context('userAgent'), null, 'nor in one that is nested too deeply');
select auth.begin_anonymous_request('{"ip": "nowhere", "userAgent": "curl"}');
select is(_auth.request_context('ip'), null, 'an invalid address counts as unknown');
select is(_auth.request_context('userAgent'), 'curl', 'and the rest of the context is');

select * from finish();
rollback;
