-- Called by auth.begin_requests.
--
-- Why a session does not carry a request: the code of a refusal, null when it does. A session that
-- is not there (all null) has ended.
create or replace function _auth.session_refusal(
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
        when p_revoked_at is not null or p_deleted_at is not null or (p_expires_at > base.clock()) is not true
            then 'session_ended'
        when p_disabled_at is not null then 'account_disabled'
        when p_role::text is distinct from p_claimed_role then 'role_changed'
    end
$$;

alter function _auth.session_refusal owner to mana_auth;
revoke all on function _auth.session_refusal from public;
grant execute on function _auth.session_refusal to mana_auth;
