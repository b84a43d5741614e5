-- Called by POST /api/v1/auth/validate, for a token whose signature is right.
--
-- Says whether the token still works, by the same rules as every other call.
create or replace function api.validate(p_user_id uuid, p_claims text, p_context text)
returns api.response
language plpgsql
volatile
as $$
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    return (200, json_build_object('valid', true, 'payload', p_claims::json), null::json);
exception
    when sqlstate 'PT401' then
        return (200, json_build_object('valid', false, 'error', sqlerrm), null::json);
end
$$;

alter function api.validate owner to mana_owner;
revoke all on function api.validate from public;
grant execute on function api.validate to mana_gateway;
