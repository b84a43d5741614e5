-- Called by auth.begin_request and auth.begin_requests.
--
-- Why a session does not carry a request: session_ended, account_disabled, or role_changed since the
-- token was signed; null when it does.
create or replace function auth.session_refusal(
    p_revoked_at   timestamptz,
    p_expires_at   timestamptz,
    p_deleted_at   timestamptz,
    p_disabled_at  timestamptz,
    p_role         auth.user_role,
    p_claimed_role text
)
returns text
language sql
volatile
as $$
    select case
        when p_revoked_at is not null or p_expires_at <= auth.clock() or p_deleted_at is not null then 'session_ended'
        when p_disabled_at is not null then 'account_disabled'
        when p_role::text is distinct from p_claimed_role then 'role_changed'
    end
$$;

alter function auth.session_refusal owner to mana_auth;
revoke all on function auth.session_refusal from public;
grant execute on function auth.session_refusal to mana_auth;
