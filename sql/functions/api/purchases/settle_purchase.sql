-- Called by the routes that look at a purchase at the provider, as their second call.
--
-- Raises  what payments.apply_snapshot raises
create or replace function api.settle_purchase(
    p_context text, p_user_id uuid, p_purchase_id uuid, p_ticket bigint, p_snapshot jsonb
)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.begin_anonymous_request(p_context);
    return api.ok(api.checkout(payments.apply_snapshot(
        p_user_id => p_user_id, p_purchase_id => p_purchase_id, p_ticket => p_ticket, p_snapshot => p_snapshot
    )));
end
$$;

alter function api.settle_purchase owner to mana_api;
revoke all on function api.settle_purchase from public;
grant execute on function api.settle_purchase to mana_gateway;
