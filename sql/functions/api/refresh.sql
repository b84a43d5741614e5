-- Called by POST /api/v1/auth/refresh. p_user_id is the user that the token names.
--
-- Raises  what auth.refresh_session raises; returns 401 invalid_refresh_token
create or replace function api.refresh(p_user_id uuid, p_context text, p_refresh_token text, p_refresh_ttl interval)
returns api.response
language plpgsql
volatile
as $$
begin
    perform auth.begin_anonymous_request(p_context);
    return api.session_grant_response(
        auth.refresh_session(p_user_id => p_user_id, p_refresh_token => p_refresh_token, p_ttl => p_refresh_ttl),
        'invalid_refresh_token', 'Invalid refresh token'
    );
end
$$;

alter function api.refresh owner to mana_owner;
revoke all on function api.refresh from public;
grant execute on function api.refresh to mana_gateway;
