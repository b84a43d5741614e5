-- Called by api.start_refund and by administrators (mana purchase refund).
--
-- Writes down a refund that the provider is to be asked for; p_amount, in minor units, is null for the whole rest.
-- Nothing is booked before the provider says that the money goes back. Without p_actor it is the user's own, for a
-- purchase whose credits are all there, within the time that the settings give. A second request while one is on
-- its way is that one.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         PT404 not_found             no such purchase
--         PT409 purchase_not_paid     or nothing of it is left to refund
--         PT409 refund_not_possible   too late, or some of the credits are spent
--         PT400 invalid_request       the detail names the parameter
create or replace function payments.request_refund(
    p_purchase_id uuid,
    p_amount      bigint,
    p_reason      text,
    p_note        text default null,
    p_actor       text default null
)
returns payments.refunds
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id  constant uuid := auth.require_user();
    v_now      constant timestamptz := base.clock();
    v_purchase credits.purchases;
    v_order    payments.orders;
    v_refund   payments.refunds;
    v_left     bigint;
begin
    perform credits.lock_account();
    v_purchase := credits.get_purchase(p_purchase_id);
    select * into v_order from payments.orders where user_id = v_user_id and purchase_id = p_purchase_id;
    if not found then
        perform base.refuse('not_found');
    end if;
    v_left := v_order.paid - v_order.refunded - v_order.disputed;
    if v_purchase.completed_at is null or v_left <= 0 then
        perform base.refuse('purchase_not_paid');
    end if;
    select * into v_refund
      from payments.refunds
     where user_id = v_user_id and purchase_id = p_purchase_id and stripe_refund_id is null and failure is null;
    if found then
        return v_refund;
    end if;
    if p_reason is null or p_reason not in ('requested_by_customer', 'duplicate', 'fraudulent') then
        perform base.refuse('invalid_request', 'reason: must be requested_by_customer, duplicate or fraudulent.');
    end if;
    if p_amount not between 1 and v_left then
        perform base.refuse('invalid_request', 'amount: must be from 1 to what is left of the payment.');
    end if;
    if p_actor is null and (
        v_purchase.completed_at < v_now - (select refundable_for from payments.settings)
        or v_order.refunded + v_order.disputed > 0
        or not credits.is_unspent(p_purchase_id)
    ) then
        perform base.refuse('refund_not_possible');
    end if;

    insert into payments.refunds (user_id, id, purchase_id, amount, reason, note, actor, created_at)
    values (
        v_user_id, base.uuid_v7(v_now), p_purchase_id, p_amount, p_reason, p_note,
        coalesce(p_actor, 'user:' || v_user_id), v_now
    )
    returning * into v_refund;
    perform _payments.mark_dirty(v_user_id, p_purchase_id);
    return v_refund;
end
$$;

alter function payments.request_refund owner to mana_payments;
revoke all on function payments.request_refund from public;
grant execute on function payments.request_refund to mana_api;
