-- Called by _credits.reverse_spend, _credits.spend, credits.adjust, credits.find_transaction and
-- credits.page_of_transactions.
--
-- A transaction as its callers get it.
create or replace function _credits.receipt(p_transaction credits.transactions, p_replayed boolean default false)
returns credits.receipt
language sql
immutable
as $$
    select row(
        p_transaction.id, p_transaction.user_id, p_transaction.type, p_transaction.status,
        p_transaction.amount, p_transaction.balance_before, p_transaction.balance_after,
        p_transaction.app_id, p_transaction.description, _credits.shown_metadata(p_transaction.metadata),
        p_transaction.idempotency_key, p_transaction.created_at, p_transaction.completed_at,
        p_transaction.balance_after - p_transaction.free_after, p_transaction.free_after,
        p_transaction.total_spent_after, p_transaction.version, p_replayed
    )::credits.receipt
$$;

alter function _credits.receipt owner to mana_ledger;
revoke all on function _credits.receipt from public;
grant execute on function _credits.receipt to mana_ledger;
