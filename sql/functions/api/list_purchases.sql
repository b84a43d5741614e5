-- Called by GET /api/v1/credits/purchases.
--
-- Raises  PT401 as auth.begin_request does
create or replace function api.list_purchases(p_user_id uuid, p_claims text, p_context text)
returns api.response
language plpgsql
volatile
as $$
declare
    v_body json;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    select coalesce(json_agg(json_build_object(
        'id', p.id,
        'packageId', p.package_id,
        'credits', p.credits,
        'priceEuroCents', p.price_euro_cents,
        'stripePaymentIntentId', p.stripe_payment_intent_id,
        'status', p.status,
        'createdAt', api.iso_time(p.created_at),
        'completedAt', api.iso_time(p.completed_at)
    )), '[]')
      into v_body
      from credits.list_purchases() as p;
    return (200, v_body, null::json);
end
$$;

alter function api.list_purchases owner to mana_owner;
revoke all on function api.list_purchases from public;
grant execute on function api.list_purchases to mana_gateway;
