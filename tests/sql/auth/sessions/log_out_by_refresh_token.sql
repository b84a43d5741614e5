-- auth.log_out_by_refresh_token
begin;
\ir ../../setup.psql
select plan(11);

select make_users('ada', 'bob', 'cleo');

create function tap.is_live(p_name text) returns boolean language sql security definer as $$
    select revoked_at is null from auth.sessions where id = tap.session_of(p_name)
$$;

set local role mana_api;

-- Anonymous
select is(auth.log_out_by_refresh_token(id_of('ada'), 'garbage'), false, 'an unknown token ends nothing');
select is(auth.log_out_by_refresh_token(id_of('ada'), null), false, 'no token ends nothing');
select is(auth.log_out_by_refresh_token(null, token_of('ada')), false, 'a token of nobody ends nothing');

-- Another user
select is(auth.log_out_by_refresh_token(id_of('bob'), token_of('ada')), false, 'another user''s token ends nothing');
select is(is_live('ada') and is_live('bob'), true, 'so all sessions go on');

-- The owner
select is(auth.log_out_by_refresh_token(id_of('ada'), token_of('ada')), true, 'the owner''s token is known');
select is(is_live('ada'), false, 'and ends its session');
select is(is_live('bob'), true, 'and nobody else''s');
select is(auth.log_out_by_refresh_token(id_of('ada'), token_of('ada')), true, 'logging out again is no error');

select auth.refresh_session(id_of('cleo'), token_of('cleo'), '7 days') \gset
select auth.log_out_by_refresh_token(id_of('cleo'), token_of('cleo')) \gset
select is(is_live('cleo'), false, 'a token that has been used will do');

reset role;
select is(
    (select count(*) from auth.security_events
      where user_id in (id_of('ada'), id_of('bob'), id_of('cleo')) and event_type = 'logged_out'), 2::bigint,
    'each end is noted once'
);

select * from finish();
rollback;
