-- Called by GET /api/v1/credits/purchase/{purchase_id}.
--
-- Raises  PT401 as auth.begin_request does   PT404 not_found
create or replace function api.get_purchase(p_user_id uuid, p_claims text, p_context text, p_purchase_id uuid)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_checkout payments.checkout;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    v_checkout := payments.get_purchase(p_purchase_id);
    return api.ok(api.checkout(v_checkout, payments.take_ticket(p_purchase_id)));
end
$$;

alter function api.get_purchase owner to mana_api;
revoke all on function api.get_purchase from public;
grant execute on function api.get_purchase to mana_gateway;
