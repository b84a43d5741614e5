-- Called by auth functions, for the user of this transaction.
--
-- Notes what happened to the account, with the request's address, user agent and id.
create or replace function _auth.record_event(p_event_type text, p_session_id uuid default null)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := base.clock();
begin
    insert into auth.security_events (
        user_id, id, event_type, session_id, ip_address, user_agent, request_id, created_at
    )
    values (
        auth.uid(), base.uuid_v7(v_now), p_event_type, p_session_id, _auth.request_context('ip')::inet,
        _auth.request_context('userAgent'), _auth.request_context('requestId'), v_now
    );
    perform base.note_event(p_event_type);
end
$$;

alter function _auth.record_event owner to mana_auth;
revoke all on function _auth.record_event from public;
grant execute on function _auth.record_event to mana_auth;
