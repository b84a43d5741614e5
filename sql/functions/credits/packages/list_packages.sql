-- Called by api.list_packages and by trusted backends.
--
-- The packages that are for sale, in the order to show them.
create or replace function credits.list_packages()
returns setof credits.packages
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select * from credits.packages where active order by sort_order, price_euro_cents, id
$$;

alter function credits.list_packages owner to mana_ledger;
revoke all on function credits.list_packages from public;
grant execute on function credits.list_packages to mana_api, mana_backend;
