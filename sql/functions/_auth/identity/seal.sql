-- Called by _auth.assume_users and _auth.sealed_user_ids.
--
-- The seal of the identity that the settings of this transaction name: HMAC-SHA-256 (RFC 2104) over
-- the users, the claims, the start of the transaction and the process that runs it, with a key that
-- only mana_auth reads. A seal is worth nothing in another transaction or on another connection.
create or replace function _auth.seal()
returns text
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_key bytea;
begin
    select key into strict v_key from auth.seal_key;
    return encode(
        extensions.hmac(
            convert_to(
                concat(current_setting('request.user_ids', true), ' ', current_setting('request.jwt.claims', true)), 'UTF8'
            ) || timestamptz_send(transaction_timestamp()) || int4send(pg_backend_pid()),
            v_key, 'sha256'
        ),
        'hex'
    );
end
$$;

alter function _auth.seal owner to mana_auth;
revoke all on function _auth.seal from public;
grant execute on function _auth.seal to mana_auth;
