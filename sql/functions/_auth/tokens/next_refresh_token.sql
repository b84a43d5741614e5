-- Called by auth.refresh_session.
--
-- The token that follows p_token. It is derived, not drawn, so that a client whose answer got
-- lost can ask again and gets the same one, and nothing but hashes has to be stored. It takes
-- both the presented token and the session's secret to make it.
create or replace function _auth.next_refresh_token(p_user_id uuid, p_token text, p_secret bytea)
returns text
language sql
stable
as $$
    select _auth.refresh_token_text(p_user_id, extensions.hmac(convert_to(p_token, 'UTF8'), p_secret, 'sha256'))
$$;

alter function _auth.next_refresh_token owner to mana_auth;
revoke all on function _auth.next_refresh_token from public;
grant execute on function _auth.next_refresh_token to mana_auth;
