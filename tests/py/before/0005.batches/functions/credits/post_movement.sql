-- Called by every function that moves credits, with the balance row locked.
--
-- Moves p_free and p_paid credits (of one sign, not both zero) between the user of this transaction
-- and p_counter_account: changes the balance, writes the transaction and its ledger entries, and
-- returns the transaction. This is the only place where any of the three is written.
--
-- It happens at p_at, now when that is null, but later than the one before by a microsecond at least,
-- also when the clock went back: the order of ids is the order of the ledger.
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
    v_transaction credits.transactions;
begin
    with moved as (
        update credits.balances as b
           set balance = b.balance + p_paid,
               free_credits_remaining = b.free_credits_remaining + p_free,
               total_earned = b.total_earned + greatest(p_free + p_paid, 0),
               total_spent = b.total_spent - least(p_free + p_paid, 0),
               version = b.version + 1,
               updated_at = greatest(coalesce(p_at, auth.clock()), b.updated_at + interval '1 microsecond')
         where b.user_id = auth.uid()
        returning b.*
    ), posted as (
        insert into credits.transactions (
            user_id, id, type, amount, balance_before, balance_after,
            free_after, total_spent_after, version, grant_window,
            app_id, description, metadata, idempotency_key, created_at, completed_at
        )
        select m.user_id, auth.uuid_v7(m.updated_at), p_type, p_free + p_paid,
               m.balance + m.free_credits_remaining - p_free - p_paid, m.balance + m.free_credits_remaining,
               m.free_credits_remaining, m.total_spent, m.version, p_grant_window,
               p_app_id, p_description, p_metadata, p_idempotency_key, m.updated_at, m.updated_at
          from moved as m
        returning *
    ), booked as (
        insert into credits.ledger_entries (
            user_id, transaction_id, entry_no, debit_account, credit_account, amount
        )
        select p.user_id, p.id, part.entry_no,
               case when part.amount < 0 then part.account else p_counter_account end,
               case when part.amount < 0 then p_counter_account else part.account end,
               abs(part.amount)
          from posted as p
         cross join (
             values (1::smallint, 'free'::credits.account, p_free), (2, 'paid', p_paid)
         ) as part (entry_no, account, amount)
         where part.amount <> 0
    )
    select * into strict v_transaction from posted;
    return v_transaction;
end
$$;

alter function credits.post_movement owner to mana_ledger;
revoke all on function credits.post_movement from public;
grant execute on function credits.post_movement to mana_ledger;
