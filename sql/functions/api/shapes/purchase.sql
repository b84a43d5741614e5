-- Called by api.list_purchases.
--
-- A purchase.
create or replace function api.purchase(p_purchase credits.purchases)
returns json
language sql
stable
as $$
    select json_build_object(
        'id', p_purchase.id,
        'packageId', p_purchase.package_id,
        'credits', p_purchase.credits,
        'priceEuroCents', p_purchase.price_euro_cents,
        'stripePaymentIntentId', p_purchase.stripe_payment_intent_id,
        'status', p_purchase.status,
        'createdAt', api.iso_time(p_purchase.created_at),
        'completedAt', api.iso_time(p_purchase.completed_at)
    )
$$;

alter function api.purchase owner to mana_api;
revoke all on function api.purchase from public;
grant execute on function api.purchase to mana_api;
