-- Called by api.use_credits and api.use_credits_batch.
--
-- What a spend is answered with.
create or replace function api.use_credits_answer(p_receipt credits.receipt)
returns api.response
language sql
stable
as $$
    select row(
        200,
        json_build_object(
            'success', true,
            'transaction', api.transaction_json(p_receipt),
            'newBalance', json_build_object(
                'balance', p_receipt.balance,
                'freeCreditsRemaining', p_receipt.free_credits_remaining,
                'totalSpent', p_receipt.total_spent,
                'version', p_receipt.version
            )
        ),
        case when p_receipt.replayed then json_build_object('Idempotency-Replayed', 'true') end
    )::api.response
$$;

alter function api.use_credits_answer owner to mana_owner;
revoke all on function api.use_credits_answer from public;
grant execute on function api.use_credits_answer to mana_gateway;
