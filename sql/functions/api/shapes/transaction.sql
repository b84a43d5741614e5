-- Called by api.list_transactions and api.spend.
--
-- A transaction.
create or replace function api.transaction(p_receipt credits.receipt)
returns json
language sql
stable
as $$
    select json_build_object(
        'id', p_receipt.id,
        'userId', p_receipt.user_id,
        'type', p_receipt.type,
        'status', p_receipt.status,
        'amount', p_receipt.amount,
        'balanceBefore', p_receipt.balance_before,
        'balanceAfter', p_receipt.balance_after,
        'appId', p_receipt.app_id,
        'description', p_receipt.description,
        'metadata', p_receipt.metadata,
        'idempotencyKey', p_receipt.idempotency_key,
        'createdAt', api.iso_time(p_receipt.created_at),
        'completedAt', api.iso_time(p_receipt.completed_at)
    )
$$;

alter function api.transaction owner to mana_api;
revoke all on function api.transaction from public;
grant execute on function api.transaction to mana_api;
