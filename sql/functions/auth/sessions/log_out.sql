-- Called by api.log_out.
--
-- Ends the caller's own session, at once for every token of it.
--
-- Locks   the session's row.
-- Raises  PT401 authentication_required
create or replace function auth.log_out()
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.require_user();
    perform _auth.revoke_session(auth.session_id(), 'logged_out');
end
$$;

alter function auth.log_out owner to mana_auth;
revoke all on function auth.log_out from public;
grant execute on function auth.log_out to mana_api;
