-- Called by api.return_from_checkout.
--
-- A purchase, for a visitor who comes from the provider's page and has no token: whose it is, its address to go on
-- to, and a ticket to look at it (payments.take_ticket).
--
-- Locks   the task's row.
-- Raises  PT404 not_found
create or replace function payments.visit(
    p_user_id     uuid,
    p_purchase_id uuid,
    out checkout payments.checkout,
    out ticket   bigint
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.act_for(p_user_id);
    checkout := _payments.checkout(p_purchase_id);
    ticket := payments.take_ticket(p_purchase_id);
end
$$;

alter function payments.visit owner to mana_payments;
revoke all on function payments.visit from public;
grant execute on function payments.visit to mana_api;
