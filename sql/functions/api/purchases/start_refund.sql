-- Called by POST /api/v1/credits/purchases/{purchase_id}/refund.
--
-- Raises  PT401 as auth.begin_request does, then what payments.request_refund raises
create or replace function api.start_refund(p_user_id uuid, p_claims text, p_context text, p_purchase_id uuid)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_refund payments.refunds;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    v_refund := payments.request_refund(
        p_purchase_id => p_purchase_id, p_amount => null, p_reason => 'requested_by_customer'
    );
    return api.ok(json_build_object(
        'refundId', v_refund.id, 'reason', v_refund.reason,
        'checkout', api.checkout(payments.get_purchase(p_purchase_id), payments.take_ticket(p_purchase_id))
    ));
end
$$;

alter function api.start_refund owner to mana_api;
revoke all on function api.start_refund from public;
grant execute on function api.start_refund to mana_gateway;
