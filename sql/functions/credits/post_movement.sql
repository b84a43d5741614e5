-- Called by every function that moves credits of the user of this transaction alone, with the balance
-- row locked. Returns the transaction that credits.post_movements wrote.
create or replace function credits.post_movement(
    p_type            credits.transaction_type,
    p_counter_account credits.account,
    p_free            bigint,
    p_paid            bigint,
    p_description     text,
    p_app_id          text default null,
    p_metadata        jsonb default null,
    p_idempotency_key text default null,
    p_grant_window    int default null,
    p_at              timestamptz default null
)
returns credits.transactions
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_movement constant credits.movement := row(
        auth.uid(), p_type, p_counter_account, p_free, p_paid,
        p_description, p_app_id, p_metadata, p_idempotency_key, p_grant_window, p_at
    );
    v_transaction credits.transactions;
begin
    select * into strict v_transaction from credits.post_movements(array[v_movement]);
    return v_transaction;
end
$$;

alter function credits.post_movement owner to mana_ledger;
revoke all on function credits.post_movement from public;
grant execute on function credits.post_movement to mana_ledger;
