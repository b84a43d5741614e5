-- Called by auth functions that record where a request came from.
--
-- One field of this request's context (ip, userAgent, requestId); null when it is not known.
create or replace function auth.request_context(p_field text)
returns text
language sql
stable
parallel safe
as $$
    select nullif(nullif(current_setting('request.context', true), '')::json ->> p_field, '')
$$;

alter function auth.request_context owner to mana_auth;
revoke all on function auth.request_context from public;
grant execute on function auth.request_context to mana_auth;
