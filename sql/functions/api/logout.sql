-- Called by POST /api/v1/auth/logout, with the claims of an access token or with a refresh token,
-- whose user p_user_id then is.
--
-- Raises  PT401 as auth.begin_request does   PT401 invalid_refresh_token
create or replace function api.logout(p_user_id uuid, p_claims text, p_context text, p_refresh_token text)
returns api.response
language plpgsql
volatile
as $$
begin
    if p_refresh_token is null then
        perform auth.begin_request(p_user_id, p_claims, p_context);
        perform auth.log_out();
    else
        perform auth.begin_anonymous_request(p_context);
        if not auth.log_out_by_refresh_token(p_user_id => p_user_id, p_refresh_token => p_refresh_token) then
            raise sqlstate 'PT401' using message = 'invalid_refresh_token', detail = 'Invalid refresh token';
        end if;
    end if;
    return (200, json_build_object('message', 'Logged out successfully'), null::json);
end
$$;

alter function api.logout owner to mana_owner;
revoke all on function api.logout from public;
grant execute on function api.logout to mana_gateway;
