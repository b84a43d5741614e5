-- Called by POST /api/v1/credits/purchase.
--
-- Raises  PT401 as auth.begin_request does, then what payments.start_purchase raises
create or replace function api.start_purchase(
    p_user_id         uuid,
    p_claims          text,
    p_context         text,
    p_package_id      uuid,
    p_success_url     text,
    p_cancel_url      text,
    p_currency        text,
    p_idempotency_key text,
    p_livemode        boolean
)
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
    v_checkout := payments.start_purchase(
        p_package_id => p_package_id, p_currency => p_currency, p_success_url => p_success_url,
        p_cancel_url => p_cancel_url, p_idempotency_key => p_idempotency_key, p_livemode => p_livemode
    );
    return api.ok(
        api.checkout(v_checkout),
        case when v_checkout.replayed then json_build_object('Idempotency-Replayed', 'true') end
    );
end
$$;

alter function api.start_purchase owner to mana_api;
revoke all on function api.start_purchase from public;
grant execute on function api.start_purchase to mana_gateway;
