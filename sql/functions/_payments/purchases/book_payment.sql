-- Called by payments.apply_snapshot and payments.receive_event, with the user's balance row locked.
--
-- Books a payment that the provider says is there, once; "paid" is never taken back by later news. Amount before
-- discounts and taxes, currency and mode have to be those of the order: otherwise nothing is booked, and the order
-- waits for an administrator's review. Credits are those of our row, never made of an amount.
create or replace function _payments.book_payment(p_user_id uuid, p_purchase_id uuid, p_snapshot payments.snapshot)
returns boolean
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_order  payments.orders;
    v_review text;
begin
    select * into strict v_order from payments.orders where user_id = p_user_id and purchase_id = p_purchase_id;
    v_review := case
        when p_snapshot.livemode is distinct from v_order.livemode then 'livemode_differs'
        when p_snapshot.currency is distinct from v_order.currency then 'currency_differs'
        when p_snapshot.amount_subtotal is distinct from v_order.amount then 'amount_differs'
        when p_snapshot.amount_total is null or p_snapshot.amount_total < 0 then 'amount_is_missing'
    end;
    update payments.orders
       set review = v_review, paid = case when v_review is null then p_snapshot.amount_total else paid end,
           updated_at = base.clock()
     where user_id = p_user_id and purchase_id = p_purchase_id;
    if v_review is not null then
        perform base.note_event('payment_to_review');
        return false;
    end if;
    perform credits.complete_purchase(p_purchase_id, p_snapshot.intent_id);
    return true;
end
$$;

alter function _payments.book_payment owner to mana_payments;
revoke all on function _payments.book_payment from public;
grant execute on function _payments.book_payment to mana_payments;
