-- Called by payments.request_refund, with the balance row locked.
--
-- Whether the paid credits of the user of this transaction would still cover all of this purchase: what is paid is
-- one pool, from which the purchases of before were spent first.
--
-- Raises  PT401 authentication_required   PT404 not_found
create or replace function credits.is_unspent(p_purchase_id uuid)
returns boolean
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_purchase constant credits.purchases := credits.get_purchase(p_purchase_id);
begin
    return (
        select least(b.balance, _credits.spendable(b)) >= v_purchase.credits
          from credits.balances as b
         where b.user_id = v_purchase.user_id
    );
end
$$;

alter function credits.is_unspent owner to mana_ledger;
revoke all on function credits.is_unspent from public;
grant execute on function credits.is_unspent to mana_payments;
