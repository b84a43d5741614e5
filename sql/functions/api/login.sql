-- Called by POST /api/v1/auth/login.
--
-- Raises  what auth.log_in raises; returns 401 invalid_credentials
create or replace function api.login(
    p_context text, p_email text, p_password text, p_device_id text, p_device_name text, p_refresh_ttl interval
)
returns api.response
language plpgsql
volatile
as $$
begin
    perform auth.begin_anonymous_request(p_context);
    return api.session_grant_response(
        auth.log_in(
            p_email => p_email, p_password_digest => p_password,
            p_device_id => p_device_id, p_device_name => p_device_name, p_ttl => p_refresh_ttl
        ),
        'invalid_credentials', 'Invalid email or password'
    );
end
$$;

alter function api.login owner to mana_owner;
revoke all on function api.login from public;
grant execute on function api.login to mana_gateway;
