-- Called by _payments.checkout, credits.is_unspent, payments.apply_snapshot, payments.receive_event,
-- payments.request_refund and trusted backends.
--
-- A purchase of the user of this transaction.
--
-- Raises  PT401 authentication_required
--         PT404 not_found
create or replace function credits.get_purchase(p_purchase_id uuid)
returns credits.purchases
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id  constant uuid := auth.require_user();
    v_purchase credits.purchases;
begin
    select * into v_purchase from credits.purchases where user_id = v_user_id and id = p_purchase_id;
    if not found then
        perform base.refuse('not_found');
    end if;
    return v_purchase;
end
$$;

alter function credits.get_purchase owner to mana_ledger;
revoke all on function credits.get_purchase from public;
grant execute on function credits.get_purchase to mana_payments, mana_backend;
