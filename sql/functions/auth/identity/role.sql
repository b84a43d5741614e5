-- Called by trusted backends.
--
-- The role in this transaction's claims: user, admin or service; null without claims.
create or replace function auth.role()
returns text
language sql
stable
parallel safe
as $$
    select nullif(current_setting('request.jwt.claims', true), '')::json ->> 'role'
$$;

alter function auth.role owner to mana_auth;
revoke all on function auth.role from public;
grant execute on function auth.role to mana_auth, mana_ledger, mana_api, mana_backend;
