-- Called by api.log_in and api.refresh_session.
--
-- A session as a client gets it. The gateway signs an access token with the claims and puts it in their place.
create or replace function api.session(p_grant auth.session_grant)
returns json
language sql
stable
as $$
    select json_build_object(
        'user', json_build_object(
            'id', p_grant.user_id, 'email', p_grant.email, 'name', p_grant.name, 'role', p_grant.role
        ),
        'refreshToken', p_grant.refresh_token,
        'claims', json_strip_nulls(json_build_object(
            'sub', p_grant.user_id, 'email', p_grant.email, 'name', p_grant.name, 'role', p_grant.role,
            'sessionId', p_grant.session_id, 'sid', p_grant.session_id, 'deviceId', p_grant.device_id
        ))
    )
$$;

alter function api.session owner to mana_api;
revoke all on function api.session from public;
grant execute on function api.session to mana_api;
