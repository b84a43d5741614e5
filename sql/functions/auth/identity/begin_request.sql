-- Called by every api function for one user, first.
--
-- Makes p_user_id the user of this transaction as auth.begin_requests does for a lone caller.
--
-- Raises  PT401 invalid_token   PT401 session_ended   PT401 account_disabled   PT401 role_changed
create or replace function auth.begin_request(p_user_id uuid, p_claims text, p_context text)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_callers constant auth.caller[] := auth.begin_requests(array[p_user_id], array[p_claims], array[p_context]);
begin
    if v_callers[1].code is not null then
        perform base.refuse(v_callers[1].code);
    end if;
end
$$;

alter function auth.begin_request owner to mana_auth;
revoke all on function auth.begin_request from public;
grant execute on function auth.begin_request to mana_api;
