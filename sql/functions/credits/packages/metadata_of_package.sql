-- Called by api.package and by trusted backends.
--
-- What apps keep with a package, an object; null for a package without. Administrators write it.
create or replace function credits.metadata_of_package(p_package_id uuid)
returns jsonb
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select metadata from credits.package_metadata where package_id = p_package_id
$$;

alter function credits.metadata_of_package owner to mana_ledger;
revoke all on function credits.metadata_of_package from public;
grant execute on function credits.metadata_of_package to mana_api, mana_backend;
