-- Called by payments.apply_snapshot, payments.receive_event and payments.request_refund, before they change anything.
--
-- Locks the balance of the user of this transaction, so that all that follows is serial for this user. A daily grant
-- that is due is paid.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
create or replace function credits.lock_account()
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform _credits.lock_balances(array[auth.require_user()], p_wait => true);
end
$$;

alter function credits.lock_account owner to mana_ledger;
revoke all on function credits.lock_account from public;
grant execute on function credits.lock_account to mana_payments;
