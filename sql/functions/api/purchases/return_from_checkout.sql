-- Called by GET /api/v1/credits/purchase/{purchase_id}/return.
--
-- Raises  PT404 not_found
create or replace function api.return_from_checkout(p_context text, p_purchase_id uuid, p_user_id uuid)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_visit record;
begin
    perform auth.begin_anonymous_request(p_context);
    v_visit := payments.visit(p_user_id, p_purchase_id);
    return api.ok(api.checkout(v_visit.checkout, v_visit.ticket));
end
$$;

alter function api.return_from_checkout owner to mana_api;
revoke all on function api.return_from_checkout from public;
grant execute on function api.return_from_checkout to mana_gateway;
