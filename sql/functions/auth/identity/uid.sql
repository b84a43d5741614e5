-- Called by policies and by every function that acts for a user.
--
-- The user of this transaction, null when nobody has said who that is. No SET clause: it
-- would keep the function from being inlined into policies.
create or replace function auth.uid()
returns uuid
language sql
stable
parallel safe
as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub')::uuid
$$;

alter function auth.uid owner to mana_auth;
revoke all on function auth.uid from public;
grant execute on function auth.uid to mana_auth, mana_ledger, mana_gateway, mana_backend;
