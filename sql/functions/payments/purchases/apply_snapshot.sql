-- Called by api.settle_purchase and by the worker.
--
-- Books the difference between what the provider says of a purchase now and what our books have. p_ticket is the
-- one that the look began with: a snapshot that is not newer than the last one applied changes nothing, so two
-- looks at once, or a late answer, do no harm. Returns the purchase.
--
-- Locks   the user's balance row, then the order and its task.
-- Raises  PT404 not_found        no such user or purchase
--         PT400 invalid_request  as _payments.snapshot does
create or replace function payments.apply_snapshot(
    p_user_id     uuid,
    p_purchase_id uuid,
    p_ticket      bigint,
    p_snapshot    jsonb
)
returns payments.checkout
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_seen     constant payments.snapshot := _payments.snapshot(p_snapshot);
    v_now      constant timestamptz := base.clock();
    v_purchase credits.purchases;
    v_paid     boolean;
begin
    perform auth.act_for(p_user_id);
    perform credits.lock_account();
    update payments.tasks
       set applied_seq = p_ticket, attempts = 0, failure = null,
           dirty_since = case when dirty_seq > p_ticket then dirty_since end
     where user_id = p_user_id and purchase_id = p_purchase_id and applied_seq < p_ticket;
    if not found then
        return _payments.checkout(p_purchase_id);
    end if;

    perform _payments.know_objects(
        p_user_id, p_purchase_id, v_seen.session_id, array[v_seen.intent_id, v_seen.charge_id]
    );
    v_purchase := credits.get_purchase(p_purchase_id);
    v_paid := v_purchase.completed_at is not null;
    if v_seen.payment_status in ('paid', 'no_payment_required') and not v_paid then
        v_paid := _payments.book_payment(p_user_id, p_purchase_id, v_seen);
    elsif not v_paid then
        perform credits.advance_purchase(p_purchase_id, case
            when v_seen.session_status = 'expired' then 'expired'
            when v_seen.session_status = 'complete' and v_seen.intent_status in ('requires_payment_method', 'canceled')
                then 'failed'
            when v_seen.session_status = 'complete' then 'processing'
            else 'pending'
        end::credits.purchase_status);
    end if;

    if v_paid then
        update payments.orders
           set refunded = coalesce(v_seen.refunded, 0), disputed = coalesce(v_seen.disputed, 0),
               dispute = v_seen.dispute, receipt_url = coalesce(v_seen.receipt_url, receipt_url), updated_at = v_now
         where user_id = p_user_id and purchase_id = p_purchase_id;
        perform credits.reverse_purchase(
                    p_purchase_id, payments.reversed_credits(o.credits, o.paid, o.refunded + o.disputed)
                )
           from payments.orders as o
          where o.user_id = p_user_id and o.purchase_id = p_purchase_id;
    end if;

    v_purchase := credits.get_purchase(p_purchase_id);
    update payments.tasks
       set due_at = case
               when dirty_since is not null then v_now
               when v_purchase.status::text in ('pending', 'processing') then v_now + interval '1 hour'
           end
     where user_id = p_user_id and purchase_id = p_purchase_id;
    return _payments.checkout(p_purchase_id);
end
$$;

alter function payments.apply_snapshot owner to mana_payments;
revoke all on function payments.apply_snapshot from public;
grant execute on function payments.apply_snapshot to mana_api, mana_worker;
