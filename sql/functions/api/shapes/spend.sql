-- Called by api.use_credits.
--
-- A spend: its transaction, and the balance right after it. Debt is not shown here.
create or replace function api.spend(p_receipt credits.receipt)
returns json
language sql
stable
as $$
    select json_build_object(
        'success', true,
        'transaction', api.transaction(p_receipt),
        'newBalance', json_build_object(
            'balance', greatest(p_receipt.balance, 0),
            'freeCreditsRemaining', p_receipt.free_credits_remaining,
            'totalSpent', p_receipt.total_spent,
            'version', p_receipt.version
        )
    )
$$;

alter function api.spend owner to mana_api;
revoke all on function api.spend from public;
grant execute on function api.spend to mana_api;
