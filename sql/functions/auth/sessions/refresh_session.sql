-- Called by api.refresh_session.
--
-- Takes a refresh token, which works once, and returns its successor, good for p_ttl. The same
-- token again within 10 seconds, while the successor is unused, is a retry or a second tab and
-- returns the same successor; any other reuse means that two parties hold the token, so the
-- session is revoked for both (RFC 9700, section 4.14.2). Returns null when the token is refused:
-- the revocation must stay, and raising would take it back. A retry is recorded as well as a reuse,
-- and so is a token of a session that was ended: a thief's can look like either. Once a day it takes away the session's
-- expired tokens: a client that stays logged in never calls _auth.create_session, which does so.
--
-- Locks   the session's row, so that refreshes and logouts of one session take turns.
-- Raises  PT400 invalid_request    p_ttl is no lifetime
create or replace function auth.refresh_session(p_user_id uuid, p_refresh_token text, p_ttl interval)
returns auth.session_grant
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    c_grace constant interval := '10 seconds';
    v_hash  constant bytea := _auth.hash_token(p_refresh_token);
    v_now     timestamptz;
    v_token   auth.refresh_tokens;
    v_session auth.sessions;
    v_user    auth.users;
    v_next    text;
    v_grant   auth.session_grant;
begin
    if p_ttl is null or p_ttl not between interval '0' and interval '100 years' then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'ttl: must be from 0 to 100 years.';
    end if;

    perform _auth.assume_users(array[p_user_id]);

    select * into v_token from auth.refresh_tokens where user_id = p_user_id and hash = v_hash;
    if not found then
        return null;
    end if;
    select * into v_session
      from auth.sessions
     where user_id = p_user_id and id = v_token.session_id
       for no key update;
    -- The holder of the lock may have used the token.
    select * into v_token from auth.refresh_tokens where user_id = p_user_id and hash = v_hash;
    select * into v_user from auth.users where id = p_user_id;
    v_now := base.clock();

    if v_token.expires_at is null
       or v_token.expires_at <= v_now
       or v_user.deleted_at is not null then
        return null;
    end if;
    if v_session.revoked_at is not null or v_user.disabled_at is not null then
        perform _auth.record_event('refresh_refused', v_session.id);
        return null;
    end if;

    v_next := _auth.next_refresh_token(p_user_id, p_refresh_token, v_session.refresh_secret);
    if v_token.used_at is null then
        update auth.refresh_tokens set used_at = v_now where user_id = p_user_id and hash = v_hash;
        insert into auth.refresh_tokens (user_id, hash, session_id, issued_at, expires_at)
        values (p_user_id, _auth.hash_token(v_next), v_session.id, v_now, v_now + p_ttl);
        if v_session.last_activity_at < date_trunc('day', v_now, 'UTC') then
            delete from auth.refresh_tokens
             where user_id = p_user_id and session_id = v_session.id and expires_at <= v_now;
        end if;
        update auth.sessions
           set last_activity_at = v_now, expires_at = v_now + p_ttl
         where user_id = p_user_id and id = v_session.id;
    elsif v_now > v_token.used_at + c_grace
       or not exists (
           select from auth.refresh_tokens
            where user_id = p_user_id and hash = _auth.hash_token(v_next) and used_at is null
       ) then
        perform _auth.revoke_session(v_session.id, 'refresh_token_reused');
        return null;
    else
        perform _auth.record_event('refresh_token_repeated', v_session.id);
    end if;

    v_grant := (
        v_user.id, v_user.email, v_user.name, v_user.role, v_session.id, v_session.device_id, v_next
    );
    return v_grant;
end
$$;

alter function auth.refresh_session owner to mana_auth;
revoke all on function auth.refresh_session from public;
grant execute on function auth.refresh_session to mana_api;
