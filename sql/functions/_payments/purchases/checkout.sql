-- Called by payments.apply_snapshot, payments.claim_tasks, payments.get_purchase,
-- payments.start_purchase and payments.visit.
--
-- A purchase of the user of this transaction with all that the provider is asked for.
--
-- Raises  PT401 authentication_required   PT404 not_found
create or replace function _payments.checkout(p_purchase_id uuid, p_replayed boolean default false)
returns payments.checkout
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_purchase constant credits.purchases := credits.get_purchase(p_purchase_id);
    v_checkout payments.checkout;
begin
    select o.user_id, o.purchase_id, s.deployment, o.livemode, v_purchase.status, o.package_id, o.credits,
           v_purchase.price_euro_cents, o.currency, o.amount, o.paid, o.refunded, o.disputed, o.title,
           o.stripe_price_id, c.customer_id, o.session_id, v_purchase.stripe_payment_intent_id, o.success_url,
           o.cancel_url, o.receipt_url, v_purchase.created_at, v_purchase.completed_at, p_replayed
      into v_checkout
      from payments.orders as o
      join payments.customers as c on c.user_id = o.user_id and c.livemode = o.livemode
     cross join payments.settings as s
     where o.user_id = v_purchase.user_id and o.purchase_id = p_purchase_id;
    if not found then
        perform base.refuse('not_found');
    end if;
    return v_checkout;
end
$$;

alter function _payments.checkout owner to mana_payments;
revoke all on function _payments.checkout from public;
grant execute on function _payments.checkout to mana_payments;
