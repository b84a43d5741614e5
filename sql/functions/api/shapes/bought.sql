-- Called by api.checkout.
--
-- A purchase as its buyer sees it.
create or replace function api.bought(p_checkout payments.checkout)
returns json
language sql
stable
as $$
    select json_build_object(
        'id', p_checkout.purchase_id,
        'packageId', p_checkout.package_id,
        'credits', p_checkout.credits,
        'priceEuroCents', p_checkout.price_euro_cents,
        'currency', p_checkout.currency,
        'amount', p_checkout.amount,
        'amountPaid', p_checkout.paid,
        'amountRefunded', p_checkout.refunded,
        'stripePaymentIntentId', p_checkout.stripe_payment_intent_id,
        'status', p_checkout.status,
        'receiptUrl', p_checkout.receipt_url,
        'createdAt', api.iso_time(p_checkout.created_at),
        'completedAt', api.iso_time(p_checkout.completed_at)
    )
$$;

alter function api.bought owner to mana_api;
revoke all on function api.bought from public;
grant execute on function api.bought to mana_api;
