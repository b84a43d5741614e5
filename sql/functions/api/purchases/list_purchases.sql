-- Called by GET /api/v1/credits/purchases.
--
-- Raises  PT401 as auth.begin_request does
create or replace function api.list_purchases(p_user_id uuid, p_claims text, p_context text)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    return api.page((select json_agg(api.purchase(p)) from credits.list_purchases() as p));
end
$$;

alter function api.list_purchases owner to mana_api;
revoke all on function api.list_purchases from public;
grant execute on function api.list_purchases to mana_gateway;
