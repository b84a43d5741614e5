-- Called by credits.reverse_spend and credits.reverse_spend_as, with the balance row locked.
--
-- Gives back p_amount of a spend's credits, all that is left of it when that is null, and returns the receipt. They go
-- back where they came from, in reverse order: paid ones first, then free ones. The same key for the same spend is a
-- retry: the first receipt comes again, replayed.
--
-- Raises  PT404 not_found               the transaction is null, or no spend
--         PT400 invalid_request         the detail names the parameter
--         PT422 idempotency_key_reused  the key was another reversal's
--         PT409 reversal_exceeds_spend  less than p_amount, or nothing, is left
create or replace function _credits.reverse_spend(
    p_spend           credits.transactions,
    p_amount          bigint,
    p_reason          text,
    p_note            text,
    p_actor           text,
    p_idempotency_key text
)
returns credits.receipt
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_cause     constant text := format('reversal:%s:%s', p_spend.id, p_idempotency_key);
    v_error     text := _credits.decision_error(
        p_reason, '{failed,duplicate,dispute,goodwill,other}', p_note, p_actor, p_idempotency_key
    );
    v_reversals uuid[];
    v_earlier   credits.causes;
    v_first     credits.transactions;
    v_left      record;
    v_amount    bigint;
    v_paid      bigint;
begin
    if p_spend.type is distinct from 'usage' then
        perform base.refuse('not_found');
    end if;
    if p_amount not between 1 and 1000000000 then
        v_error := 'amount: must be a whole number from 1 to 1000000000.';
    end if;
    if v_error is not null then
        perform base.refuse('invalid_request', v_error);
    end if;

    v_reversals := array(
        select transaction_id from credits.causes where user_id = p_spend.user_id and reverses = p_spend.id
    );
    select * into v_earlier from credits.causes where user_id = p_spend.user_id and cause = v_cause;
    if found then
        select * into v_first
          from credits.transactions
         where user_id = p_spend.user_id and id = v_earlier.transaction_id;
        -- Without an amount it was all that was left.
        v_amount := coalesce(p_amount, -p_spend.amount - (
            select coalesce(sum(amount), 0)
              from credits.transactions
             where user_id = p_spend.user_id and id = any (v_reversals) and id < v_first.id
        ));
        if (v_first.amount, v_earlier.reason, v_earlier.note) is distinct from (v_amount, p_reason, p_note) then
            perform base.refuse('idempotency_key_reused');
        end if;
        return _credits.receipt(v_first, p_replayed => true);
    end if;

    select coalesce(sum(e.signed) filter (where e.own = 'free'), 0) as free,
           coalesce(sum(e.signed) filter (where e.own = 'paid'), 0) as paid
      into v_left
      from (
          select case when credit_account = 'usage' then debit_account else credit_account end as own,
                 case when credit_account = 'usage' then amount else -amount end as signed
            from credits.ledger_entries
           where user_id = p_spend.user_id and transaction_id = any (v_reversals || p_spend.id)
      ) as e;
    v_amount := coalesce(p_amount, v_left.free + v_left.paid);
    if v_amount not between 1 and v_left.free + v_left.paid then
        perform base.refuse('reversal_exceeds_spend', format(
            'Of this spend %s credits are left to give back.', v_left.free + v_left.paid
        ));
    end if;
    v_paid := least(v_amount, v_left.paid);

    return _credits.receipt(_credits.post_for_cause(
        v_cause,
        row(
            p_spend.user_id, 'refund', 'usage', v_amount - v_paid, v_paid, 'Spend reversed', p_spend.app_id,
            null, null, null, null
        )::credits.movement,
        p_spend.id, p_reason, p_note, p_actor
    ));
end
$$;

alter function _credits.reverse_spend owner to mana_ledger;
revoke all on function _credits.reverse_spend from public;
grant execute on function _credits.reverse_spend to mana_ledger;
