-- Called by payments.apply_snapshot.
--
-- Takes credits of a completed purchase back, or gives them back again, until p_reversed of them are reversed.
-- More than is left becomes debt, the negative part of the paid account; no other movement may make any. What is
-- reversed so far is what the ledger says of this purchase. Returns by how much that has changed.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         PT404 not_found        the user has no such purchase, or it has not been completed
--         PT400 invalid_request  less than nothing, or more than the purchase has
create or replace function credits.reverse_purchase(p_purchase_id uuid, p_reversed bigint)
returns bigint
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id  constant uuid := auth.require_user();
    v_purchase credits.purchases;
    v_before   record;
    v_delta    bigint;
begin
    perform _credits.lock_balances(array[v_user_id], p_wait => true);
    select * into v_purchase from credits.purchases where user_id = v_user_id and id = p_purchase_id;
    if not found or v_purchase.completed_at is null then
        perform base.refuse('not_found');
    end if;
    if p_reversed is null or p_reversed not between 0 and v_purchase.credits then
        perform base.refuse('invalid_request', 'reversed: must be from 0 to the credits of the purchase.');
    end if;

    select paid.transaction_id, count(t.id) as times, coalesce(-sum(t.amount), 0)::bigint as reversed
      into v_before
      from credits.causes as paid
      left join credits.causes as c on c.user_id = paid.user_id and c.reverses = paid.transaction_id
      left join credits.transactions as t on t.user_id = c.user_id and t.id = c.transaction_id
     where paid.user_id = v_user_id and paid.cause = 'purchase:' || p_purchase_id
     group by paid.transaction_id;
    v_delta := p_reversed - v_before.reversed;
    if v_delta <> 0 then
        perform _credits.post_for_cause(
            format('reversal:%s:%s', p_purchase_id, v_before.times + 1),
            row(
                v_user_id, 'refund', 'refunds', 0, -v_delta,
                case when v_delta > 0 then 'Purchase reversed' else 'Reversal of a purchase taken back' end,
                null, null, null, null, null
            )::credits.movement,
            v_before.transaction_id
        );
    end if;
    update credits.purchases
       set status = case when p_reversed = credits then 'refunded' else 'completed' end::credits.purchase_status
     where user_id = v_user_id and id = p_purchase_id;
    return v_delta;
end
$$;

alter function credits.reverse_purchase owner to mana_ledger;
revoke all on function credits.reverse_purchase from public;
grant execute on function credits.reverse_purchase to mana_payments;
