-- Called by _credits.lock_balances, _credits.post_for_cause, _credits.spend and credits.open_account, with the
-- balance rows locked.
--
-- Moves free and paid credits (of one sign, not both zero) between each movement's user and its
-- counter account: changes the balance, writes the transaction and its ledger entries, and returns
-- the transaction. One movement for each user, at the movement's time, now when that is null. No
-- other function writes any of the three tables.
--
-- Raises  21000 cardinality_violation  a user without a balance, or with two movements
create or replace function _credits.post_movements(p_movements credits.movement[])
returns setof credits.transactions
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_posted bigint;
begin
    return query
    with moved as (
        update credits.balances as b
           set balance = b.balance + m.paid,
               free_credits_remaining = b.free_credits_remaining + m.free,
               total_earned = b.total_earned + greatest(m.free + m.paid, 0),
               total_spent = b.total_spent - least(m.free + m.paid, 0),
               version = b.version + 1,
               updated_at = _credits.next_moment(b.updated_at, coalesce(m.at, base.clock()))
          from unnest(p_movements) as m
         where b.user_id = m.user_id
        returning base.uuid_v7(b.updated_at) as transaction_id,
                  b.balance + b.free_credits_remaining as balance_after, b.free_credits_remaining as free_after,
                  b.total_spent, b.version, b.updated_at, m.*
    ), booked as (
        insert into credits.ledger_entries (
            user_id, transaction_id, entry_no, debit_account, credit_account, amount
        )
        select m.user_id, m.transaction_id, part.entry_no,
               case when part.amount < 0 then part.account else m.counter_account end,
               case when part.amount < 0 then m.counter_account else part.account end,
               abs(part.amount)
          from moved as m
         cross join lateral (
             values (1::smallint, 'free'::credits.account, m.free), (2, 'paid', m.paid)
         ) as part (entry_no, account, amount)
         where part.amount <> 0
    )
    insert into credits.transactions (
        user_id, id, type, amount, balance_before, balance_after,
        free_after, total_spent_after, version, grant_window,
        app_id, description, metadata, idempotency_key, created_at, completed_at
    )
    select m.user_id, m.transaction_id, m.type, m.free + m.paid,
           m.balance_after - m.free - m.paid, m.balance_after,
           m.free_after, m.total_spent, m.version, m.grant_window,
           m.app_id, m.description, m.metadata, m.idempotency_key, m.updated_at, m.updated_at
      from moved as m
    returning *;

    get diagnostics v_posted = row_count;
    if v_posted <> cardinality(p_movements) then
        raise cardinality_violation using message = 'not one movement for each of as many users with a balance';
    end if;
end
$$;

alter function _credits.post_movements owner to mana_ledger;
revoke all on function _credits.post_movements from public;
grant execute on function _credits.post_movements to mana_ledger;
