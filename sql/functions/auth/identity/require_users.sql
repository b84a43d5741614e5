-- Called by credits.get_balances and credits.spend_all, first.
--
-- Nothing, if this transaction was begun for each of p_user_ids.
--
-- Raises  PT401 authentication_required
create or replace function auth.require_users(p_user_ids uuid[])
returns void
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if (p_user_ids <@ coalesce(_auth.sealed_user_ids(), '{}')) is not true then
        perform base.refuse('authentication_required');
    end if;
end
$$;

alter function auth.require_users owner to mana_auth;
revoke all on function auth.require_users from public;
grant execute on function auth.require_users to mana_ledger;
