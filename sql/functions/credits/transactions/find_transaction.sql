-- Called by api.list_transactions and by trusted backends.
--
-- The transaction of an idempotency key, whether a spend was carried out, say; no row when there is
-- none. A key belongs to the user and the app, so without p_app_id there may be one for each app, the
-- newest 100 of them. A backend sees the apps that it is bound to.
--
-- Raises  PT401 authentication_required
create or replace function credits.find_transaction(p_idempotency_key text, p_app_id text default null)
returns setof credits.receipt
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_apps    constant text[] := _credits.bound_apps();
begin
    return query
        select (_credits.receipt(t)).*
          from credits.transactions as t
         where t.user_id = v_user_id
           and t.idempotency_key = p_idempotency_key
           and (p_app_id is null or t.app_id = p_app_id)
           and (v_apps is null or t.app_id = any (v_apps))
         order by t.id desc
         limit 100;
end
$$;

alter function credits.find_transaction owner to mana_ledger;
revoke all on function credits.find_transaction from public;
grant execute on function credits.find_transaction to mana_api, mana_backend;
