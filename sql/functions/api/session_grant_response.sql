-- Called by api.login and api.refresh.
--
-- What a client gets for a session, next to the claims of the access token that the gateway signs
-- and puts in their place. Null stands for a refusal, which has left its trace already.
create or replace function api.session_grant_response(p_grant auth.session_grant, p_code text, p_detail text)
returns api.response
language sql
stable
as $$
    select case
        when p_grant.user_id is null
            then row(401, json_build_object('code', p_code, 'detail', p_detail), null::json)::api.response
        else row(200, json_build_object(
            'user', json_build_object(
                'id', p_grant.user_id, 'email', p_grant.email, 'name', p_grant.name, 'role', p_grant.role
            ),
            'refreshToken', p_grant.refresh_token,
            'claims', json_strip_nulls(json_build_object(
                'sub', p_grant.user_id, 'email', p_grant.email, 'role', p_grant.role,
                'sessionId', p_grant.session_id, 'deviceId', p_grant.device_id
            ))
        ), null::json)::api.response
    end
$$;

alter function api.session_grant_response owner to mana_owner;
revoke all on function api.session_grant_response from public;
grant execute on function api.session_grant_response to mana_gateway;
