-- Called by api.log_out.
--
-- Ends the session that a refresh token belongs to; a token of the session that has been used
-- will do, and so will one of a session that has ended. Returns whether the token is known.
--
-- Locks   the session's row.
create or replace function auth.log_out_by_refresh_token(p_user_id uuid, p_refresh_token text)
returns boolean
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_session_id uuid;
begin
    perform _auth.assume_users(array[p_user_id]);

    select session_id into v_session_id
      from auth.refresh_tokens
     where user_id = p_user_id and hash = _auth.hash_token(p_refresh_token);
    if v_session_id is null then
        return false;
    end if;

    perform _auth.revoke_session(v_session_id, 'logged_out');
    return true;
end
$$;

alter function auth.log_out_by_refresh_token owner to mana_auth;
revoke all on function auth.log_out_by_refresh_token from public;
grant execute on function auth.log_out_by_refresh_token to mana_api;
