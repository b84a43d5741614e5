-- Called by POST /api/v1/auth/logout, with the claims of an access token or with a refresh token,
-- whose user p_user_id then is.
--
-- Raises  PT401 as auth.begin_request does; returns 401 invalid_refresh_token
create or replace function api.log_out(p_user_id uuid, p_claims text, p_context text, p_refresh_token text)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_refresh_token is null then
        perform auth.begin_request(p_user_id, p_claims, p_context);
        perform auth.log_out();
    else
        perform auth.begin_anonymous_request(p_context);
        if not auth.log_out_by_refresh_token(p_user_id => p_user_id, p_refresh_token => p_refresh_token) then
            return api.refused('invalid_refresh_token');
        end if;
    end if;
    return api.ok(json_build_object('message', 'Logged out successfully'));
end
$$;

alter function api.log_out owner to mana_api;
revoke all on function api.log_out from public;
grant execute on function api.log_out to mana_gateway;
