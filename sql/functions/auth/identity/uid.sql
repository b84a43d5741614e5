-- Called by every function that acts for one user.
--
-- The user of this transaction, null when it has none or several. A door that has not begun the
-- transaction itself asks auth.require_user: anybody can write a setting.
create or replace function auth.uid()
returns uuid
language sql
stable
parallel safe
as $$
    select case cardinality(auth.user_ids()) when 1 then (auth.user_ids())[1] end
$$;

alter function auth.uid owner to mana_auth;
revoke all on function auth.uid from public;
grant execute on function auth.uid to mana_auth, mana_ledger, mana_payments, mana_api, mana_backend;
