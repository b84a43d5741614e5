-- Called by api.start_purchase, api.get_purchase, api.return_from_checkout, api.settle_purchase and api.start_refund.
--
-- A purchase, for the gateway: what its buyer sees, and what the provider is asked for. A ticket lets the gateway
-- look at it there.
create or replace function api.checkout(p_checkout payments.checkout, p_ticket bigint default null)
returns json
language sql
stable
as $$
    select json_build_object(
        'purchase', api.bought(p_checkout),
        'userId', p_checkout.user_id,
        'deployment', p_checkout.deployment,
        'livemode', p_checkout.livemode,
        'title', p_checkout.title,
        'stripePriceId', p_checkout.stripe_price_id,
        'customerId', p_checkout.customer_id,
        'sessionId', p_checkout.session_id,
        'successUrl', p_checkout.success_url,
        'cancelUrl', p_checkout.cancel_url,
        'ticket', p_ticket
    )
$$;

alter function api.checkout owner to mana_api;
revoke all on function api.checkout from public;
grant execute on function api.checkout to mana_api;
