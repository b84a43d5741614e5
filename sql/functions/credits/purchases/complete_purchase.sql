-- Called by _payments.book_payment.
--
-- Books the credits of a purchase that has been paid, once: a purchase that is completed or refunded already
-- stays as it is. Paid beats every other state. What comes in pays debt first, as both are the paid account.
-- Returns whether this call has booked it.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         PT404 not_found  the user has no such purchase
create or replace function credits.complete_purchase(p_purchase_id uuid, p_stripe_payment_intent_id text)
returns boolean
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id  constant uuid := auth.require_user();
    v_purchase credits.purchases;
begin
    perform _credits.lock_balances(array[v_user_id], p_wait => true);
    select * into v_purchase from credits.purchases where user_id = v_user_id and id = p_purchase_id;
    if not found then
        perform base.refuse('not_found');
    end if;
    if v_purchase.completed_at is not null then
        return false;
    end if;

    perform _credits.post_for_cause(
        'purchase:' || p_purchase_id,
        row(
            v_user_id, 'purchase', 'sales', 0, v_purchase.credits, 'Purchase of credits', null, null, null, null, null
        )::credits.movement
    );
    update credits.purchases
       set status = 'completed',
           stripe_payment_intent_id = p_stripe_payment_intent_id,
           completed_at = base.clock()
     where user_id = v_user_id and id = p_purchase_id;
    perform base.note_event('purchase', v_purchase.credits);
    return true;
end
$$;

alter function credits.complete_purchase owner to mana_ledger;
revoke all on function credits.complete_purchase from public;
grant execute on function credits.complete_purchase to mana_payments;
