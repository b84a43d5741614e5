-- Called by api.list_purchases and by trusted backends.
--
-- The purchases of the user of this transaction, newest first and at most 1,000.
--
-- Raises  PT401 authentication_required
create or replace function credits.list_purchases()
returns setof credits.purchases
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.require_user();
begin
    return query select * from credits.purchases where user_id = v_user_id order by id desc limit 1000;
end
$$;

alter function credits.list_purchases owner to mana_ledger;
revoke all on function credits.list_purchases from public;
grant execute on function credits.list_purchases to mana_api, mana_backend;
