-- Called by auth functions that act on the caller's own session.
--
-- The session in this transaction's claims; null for a trusted backend, which has none.
create or replace function auth.session_id()
returns uuid
language sql
stable
parallel safe
as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sessionId')::uuid
$$;

alter function auth.session_id owner to mana_auth;
revoke all on function auth.session_id from public;
grant execute on function auth.session_id to mana_auth, mana_ledger, mana_api, mana_backend;
