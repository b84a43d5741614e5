-- Called by POST /api/v1/auth/refresh. p_user_id is the user that the token names.
--
-- Raises  what auth.refresh_session raises; returns 401 invalid_refresh_token
create or replace function api.refresh_session(
    p_user_id uuid, p_context text, p_refresh_token text, p_refresh_ttl interval
)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_grant auth.session_grant;
begin
    perform auth.begin_anonymous_request(p_context);
    v_grant := auth.refresh_session(p_user_id => p_user_id, p_refresh_token => p_refresh_token, p_ttl => p_refresh_ttl);
    return case
        when v_grant.user_id is null then api.refused('invalid_refresh_token') else api.ok(api.session(v_grant))
    end;
end
$$;

alter function api.refresh_session owner to mana_api;
revoke all on function api.refresh_session from public;
grant execute on function api.refresh_session to mana_gateway;
