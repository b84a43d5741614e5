-- Called by the worker.
--
-- Writes down what the provider has answered to a refund: its id, or why it refuses. The books follow what the
-- provider says of the payment (payments.apply_snapshot), not this.
--
-- Locks   the refund's row.
-- Raises  PT404 not_found  no such user
create or replace function payments.note_refund(
    p_user_id uuid, p_refund_id uuid, p_stripe_refund_id text, p_failure text
)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.act_for(p_user_id);
    update payments.refunds
       set stripe_refund_id = p_stripe_refund_id, failure = left(p_failure, 255)
     where user_id = p_user_id and id = p_refund_id and stripe_refund_id is null;
end
$$;

alter function payments.note_refund owner to mana_payments;
revoke all on function payments.note_refund from public;
grant execute on function payments.note_refund to mana_worker;
