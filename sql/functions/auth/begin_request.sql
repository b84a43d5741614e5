-- Called by every api function for a user, first.
--
-- Makes p_user_id the user of this transaction, by the claims of a token whose signature the
-- gateway has checked, and refuses claims that are not true any more. p_context is a JSON object
-- with ip, userAgent and requestId.
--
-- Raises  PT401 invalid_token      no claims, none that can be read, or those of somebody else
--         PT401 session_ended      revoked, expired or unknown session, deleted user
--         PT401 account_disabled
--         PT401 role_changed       the token's role is not the user's any more
create or replace function auth.begin_request(p_user_id uuid, p_claims text, p_context text)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_claims     json;
    v_subject    text;
    v_session_id uuid;
    v_set        text;
    v_refusal    text;
begin
    begin
        v_claims := nullif(p_claims, '')::json;
        v_subject := v_claims ->> 'sub';
        v_session_id := v_claims ->> 'sessionId';
    exception
        when data_exception or program_limit_exceeded then  -- no JSON, no UUID, or nested too deeply
            v_subject := null;
    end;
    if p_user_id is null or v_subject is distinct from p_user_id::text then
        raise sqlstate 'PT401' using message = 'invalid_token', detail = 'The access token is not valid.';
    end if;

    v_set := set_config('request.jwt.claims', p_claims, true);
    v_set := set_config('request.context', coalesce(p_context, ''), true);
    v_set := set_config('request.user_ids', '', true);

    select auth.session_refusal(
               s.revoked_at, s.expires_at, u.deleted_at, u.disabled_at, u.role, v_claims ->> 'role'
           )
      into v_refusal
      from auth.sessions as s
      join auth.users as u on u.id = s.user_id
     where s.user_id = p_user_id and s.id = v_session_id;

    if not found or v_refusal = 'session_ended' then
        raise sqlstate 'PT401' using message = 'session_ended', detail = 'This session has ended. Log in again.';
    end if;
    if v_refusal = 'account_disabled' then
        raise sqlstate 'PT401' using message = 'account_disabled', detail = 'This account is disabled.';
    end if;
    if v_refusal = 'role_changed' then
        raise sqlstate 'PT401' using
            message = 'role_changed', detail = 'The role of this account has changed. Refresh the access token.';
    end if;
end
$$;

alter function auth.begin_request owner to mana_auth;
revoke all on function auth.begin_request from public;
grant execute on function auth.begin_request to mana_gateway;
