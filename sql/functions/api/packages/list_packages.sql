-- Called by GET /api/v1/credits/packages.
--
-- Raises  PT401 as auth.begin_request does
create or replace function api.list_packages(p_user_id uuid, p_claims text, p_context text)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    return api.page((select json_agg(api.package(p)) from credits.list_packages() as p));
end
$$;

alter function api.list_packages owner to mana_api;
revoke all on function api.list_packages from public;
grant execute on function api.list_packages to mana_gateway;
