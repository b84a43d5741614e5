-- Called by auth.log_out, by credits functions and by payments functions for the user of this transaction, first.
--
-- That user.
--
-- Raises  PT401 authentication_required
create or replace function auth.require_user()
returns uuid
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_ids constant uuid[] := _auth.sealed_user_ids();
begin
    if cardinality(v_user_ids) is distinct from 1 then
        perform base.refuse('authentication_required');
    end if;
    return v_user_ids[1];
end
$$;

alter function auth.require_user owner to mana_auth;
revoke all on function auth.require_user from public;
grant execute on function auth.require_user to mana_auth, mana_ledger, mana_payments;
