-- Called by POST /api/v1/auth/register.
--
-- Raises  PT400 invalid_request    PT409 email_taken
create or replace function api.register(p_context text, p_email text, p_password text, p_name text)
returns api.response
language plpgsql
volatile
as $$
declare
    v_user auth.users;
begin
    perform auth.begin_anonymous_request(p_context);
    v_user := auth.register_user(p_email => p_email, p_password_digest => p_password, p_name => p_name);
    return (201, json_build_object(
        'id', v_user.id, 'email', v_user.email, 'name', v_user.name, 'createdAt', api.iso_time(v_user.created_at)
    ), null::json);
end
$$;

alter function api.register owner to mana_owner;
revoke all on function api.register from public;
grant execute on function api.register to mana_gateway;
