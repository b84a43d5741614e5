-- Called by auth functions that hand out a refresh token.
--
-- The token as the client gets it: its user, so that it can be found by (user_id, hash), a dot,
-- and 256 bits in base64url.
create or replace function _auth.refresh_token_text(p_user_id uuid, p_secret bytea)
returns text
language sql
immutable
as $$
    select replace(p_user_id::text, '-', '')
           || '.' || translate(encode(p_secret, 'base64'), '+/=', '-_')
$$;

alter function _auth.refresh_token_text owner to mana_auth;
revoke all on function _auth.refresh_token_text from public;
grant execute on function _auth.refresh_token_text to mana_auth;
