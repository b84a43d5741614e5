-- Called by POST /api/v1/auth/validate, for a token whose signature is right.
--
-- Tells whether the token still works, by the same rules as every other call.
create or replace function api.validate(p_user_id uuid, p_claims text, p_context text)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_callers constant auth.caller[] := auth.begin_requests(array[p_user_id], array[p_claims], array[p_context]);
begin
    return api.ok(case
        when v_callers[1].code is null then json_build_object('valid', true, 'payload', p_claims::json)
        else json_build_object('valid', false, 'error', v_callers[1].code)
    end);
end
$$;

alter function api.validate owner to mana_api;
revoke all on function api.validate from public;
grant execute on function api.validate to mana_gateway;
