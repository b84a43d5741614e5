-- Called by auth functions that end a session of the user of this transaction.
--
-- Ends the session and notes why; a session that has ended already stays as it is. Returns
-- whether it was this call that ended it.
--
-- Locks   the session's row.
create or replace function _auth.revoke_session(p_session_id uuid, p_reason text)
returns boolean
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    update auth.sessions
       set revoked_at = base.clock()
     where user_id = auth.uid() and id = p_session_id and revoked_at is null;
    if found then
        perform _auth.record_event(p_reason, p_session_id);
    end if;
    return found;
end
$$;

alter function _auth.revoke_session owner to mana_auth;
revoke all on function _auth.revoke_session from public;
grant execute on function _auth.revoke_session to mana_auth;
