-- Called by POST /api/v1/auth/register.
--
-- Raises  what auth.register_user raises
create or replace function api.register_user(p_context text, p_email text, p_password_digest text, p_name text)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user auth.users;
begin
    perform auth.begin_anonymous_request(p_context);
    v_user := auth.register_user(p_email => p_email, p_password_digest => p_password_digest, p_name => p_name);
    return api.ok(api.new_user(v_user), p_status => 201);
end
$$;

alter function api.register_user owner to mana_api;
revoke all on function api.register_user from public;
grant execute on function api.register_user to mana_gateway;
