-- Called by auth functions that record where a request came from.
--
-- One field of this request's context (ip, userAgent, requestId); null when it is not known. What
-- is only recorded is no reason to refuse: a context that is not JSON and an invalid ip count as unknown.
create or replace function _auth.request_context(p_field text)
returns text
language plpgsql
stable
as $$
declare
    v_value text;
begin
    v_value := nullif(nullif(current_setting('request.context', true), '')::json ->> p_field, '');
    if p_field = 'ip' then
        perform v_value::inet;
    end if;
    return v_value;
exception
    when data_exception or program_limit_exceeded then
        return null;
end
$$;

alter function _auth.request_context owner to mana_auth;
revoke all on function _auth.request_context from public;
grant execute on function _auth.request_context to mana_auth;
