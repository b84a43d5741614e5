-- Called by payments.receive_event and payments.request_refund.
--
-- Lets the worker look at a purchase as soon as it can.
--
-- Locks   the task's row.
create or replace function _payments.mark_dirty(p_user_id uuid, p_purchase_id uuid)
returns void
language sql
volatile
as $$
    update payments.tasks
       set dirty_seq = dirty_seq + 1, dirty_since = coalesce(dirty_since, base.clock()), due_at = base.clock(),
           attempts = 0
     where user_id = p_user_id and purchase_id = p_purchase_id
$$;

alter function _payments.mark_dirty owner to mana_payments;
revoke all on function _payments.mark_dirty from public;
grant execute on function _payments.mark_dirty to mana_payments;
