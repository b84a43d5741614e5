-- Called by POST /api/v1/auth/login.
--
-- Raises  what auth.log_in raises; returns 401 invalid_credentials or account_disabled
create or replace function api.log_in(
    p_context         text,
    p_email           text,
    p_password_digest text,
    p_device_id       text,
    p_device_name     text,
    p_refresh_ttl     interval
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
    v_grant := auth.log_in(
        p_email => p_email, p_password_digest => p_password_digest,
        p_device_id => p_device_id, p_device_name => p_device_name, p_ttl => p_refresh_ttl
    );
    return case
        when v_grant.email is null then api.refused('invalid_credentials')
        when v_grant.user_id is null then api.refused('account_disabled', 'This account is disabled.')
        else api.ok(api.session(v_grant))
    end;
end
$$;

alter function api.log_in owner to mana_api;
revoke all on function api.log_in from public;
grant execute on function api.log_in to mana_gateway;
