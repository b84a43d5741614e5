-- Called by api.note_checkout.
--
-- Writes down what the provider has answered to the start of a purchase. Nothing depends on it: what is lost here
-- comes again with the provider's news, whose objects name the purchase.
--
-- Locks   the user's customer row, then the order's.
-- Raises  PT404 not_found  there is no such user or purchase
create or replace function payments.note_checkout(
    p_user_id     uuid,
    p_purchase_id uuid,
    p_customer_id text,
    p_session_id  text
)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.act_for(p_user_id);
    if not exists (select from payments.orders where user_id = p_user_id and purchase_id = p_purchase_id) then
        perform base.refuse('not_found');
    end if;
    update payments.customers as c
       set customer_id = p_customer_id
      from payments.orders as o
     where o.user_id = p_user_id and o.purchase_id = p_purchase_id
       and c.user_id = o.user_id and c.livemode = o.livemode and c.customer_id is distinct from p_customer_id;
    perform _payments.know_objects(p_user_id, p_purchase_id, p_session_id);
end
$$;

alter function payments.note_checkout owner to mana_payments;
revoke all on function payments.note_checkout from public;
grant execute on function payments.note_checkout to mana_api;
