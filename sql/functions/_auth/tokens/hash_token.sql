-- Called by auth functions that store or look up an opaque token.
--
-- The hash that is stored of a token. A token has 256 random bits, so a fast hash without salt is enough.
create or replace function _auth.hash_token(p_token text)
returns bytea
language sql
stable
as $$
    select sha256(convert_to(p_token, 'UTF8'))
$$;

alter function _auth.hash_token owner to mana_auth;
revoke all on function _auth.hash_token from public;
grant execute on function _auth.hash_token to mana_auth;
