-- Called by every api function that has no user yet, first.
--
-- Leaves no user in this transaction and notes where the request came from. p_context is a JSON
-- object with ip, userAgent and requestId.
create or replace function auth.begin_anonymous_request(p_context text)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('request.user_ids', '', true),
            set_config('request.jwt.claims', '', true),
            set_config('request.seal', '', true),
            set_config('request.context', coalesce(p_context, ''), true);
end
$$;

alter function auth.begin_anonymous_request owner to mana_auth;
revoke all on function auth.begin_anonymous_request from public;
grant execute on function auth.begin_anonymous_request to mana_api;
