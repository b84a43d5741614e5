-- Called by administrators (mana credits reverse).
--
-- Gives back what a spend of any app has charged the user of this transaction, as credits.reverse_spend does. p_actor
-- is the administrator who decided it.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         and what _credits.reverse_spend raises
create or replace function credits.reverse_spend_as(
    p_actor           text,
    p_transaction_id  uuid,
    p_reason          text,
    p_idempotency_key text,
    p_amount          bigint default null,
    p_note            text default null
)
returns credits.receipt
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_spend   credits.transactions;
begin
    perform _credits.lock_balances(array[v_user_id], p_wait => true);
    select * into v_spend from credits.transactions where user_id = v_user_id and id = p_transaction_id;
    return _credits.reverse_spend(v_spend, p_amount, p_reason, p_note, p_actor, p_idempotency_key);
end
$$;

alter function credits.reverse_spend_as owner to mana_ledger;
revoke all on function credits.reverse_spend_as from public;
