-- Called by auth.log_in, for the user of this transaction.
--
-- Opens a session on a device and returns it with its first refresh token, good for p_ttl. Takes
-- away what the user's older sessions left: tokens past their time, and sessions that ended
-- 30 days ago.
create or replace function _auth.create_session(p_device_id text, p_device_name text, p_ttl interval)
returns auth.session_grant
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.uid();
    v_now     constant timestamptz := base.clock();
    v_id      constant uuid := base.uuid_v7(v_now);
    v_token   constant text := _auth.refresh_token_text(v_user_id, extensions.gen_random_bytes(32));
    v_grant   auth.session_grant;
begin
    delete from auth.refresh_tokens where user_id = v_user_id and expires_at <= v_now;
    delete from auth.sessions
     where user_id = v_user_id and least(revoked_at, expires_at) <= v_now - interval '30 days';

    insert into auth.sessions (
        user_id, id, device_id, device_name, ip_address, user_agent,
        refresh_secret, created_at, last_activity_at, expires_at
    )
    values (
        v_user_id, v_id, p_device_id, p_device_name,
        _auth.request_context('ip')::inet, _auth.request_context('userAgent'),
        extensions.gen_random_bytes(32), v_now, v_now, v_now + p_ttl
    );
    insert into auth.refresh_tokens (user_id, hash, session_id, issued_at, expires_at)
    values (v_user_id, _auth.hash_token(v_token), v_id, v_now, v_now + p_ttl);

    select u.id, u.email, u.name, u.role, v_id, p_device_id, v_token
      into v_grant
      from auth.users as u
     where u.id = v_user_id;
    return v_grant;
end
$$;

alter function _auth.create_session owner to mana_auth;
revoke all on function _auth.create_session from public;
grant execute on function _auth.create_session to mana_auth;
