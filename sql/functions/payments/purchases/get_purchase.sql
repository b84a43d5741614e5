-- Called by api.get_purchase and api.start_refund.
--
-- A purchase of the user of this transaction, as payments.start_purchase has it.
--
-- Raises  PT401 authentication_required   PT404 not_found
create or replace function payments.get_purchase(p_purchase_id uuid)
returns payments.checkout
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select _payments.checkout(p_purchase_id)
$$;

alter function payments.get_purchase owner to mana_payments;
revoke all on function payments.get_purchase from public;
grant execute on function payments.get_purchase to mana_api;
