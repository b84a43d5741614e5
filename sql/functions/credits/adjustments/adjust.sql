-- Called by administrators (mana credits adjust).
--
-- Gives the user of this transaction p_amount free or paid credits, or takes them when it is negative, and returns the
-- receipt. It moves that pool alone and makes no debt. p_actor has decided it; above 10,000 credits a second
-- administrator, p_approved_by, has to approve. The same key with the same request is a retry: the first receipt
-- comes again, replayed.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         PT400 invalid_request         the detail names the parameter
--         PT403 approval_required       more than one administrator may decide alone
--         PT404 not_found               the user has no account
--         PT422 idempotency_key_reused  the key was another adjustment's
--         PT402 insufficient_credits    the pool has less, or what it has is held
create or replace function credits.adjust(
    p_actor           text,
    p_amount          bigint,
    p_reason          text,
    p_idempotency_key text,
    p_pool            credits.account default 'paid',
    p_note            text default null,
    p_approved_by     text default null
)
returns credits.receipt
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    c_alone     constant bigint := 10000;  -- credits that one administrator may move
    v_user_id   constant uuid := auth.require_user();
    v_cause     constant text := 'adjustment:' || p_idempotency_key;
    v_error     text := _credits.decision_error(
        p_reason, '{goodwill,correction,promotion,fraud,migration,other}', p_note, p_actor, p_idempotency_key
    );
    v_free      constant bigint := case p_pool when 'free' then p_amount else 0 end;
    v_balance   credits.balances;
    v_available bigint;
    v_earlier   credits.causes;
    v_first     credits.transactions;
begin
    if p_amount is null or p_amount = 0 or p_amount not between -1000000000 and 1000000000 then
        v_error := 'amount: must be a whole number from -1000000000 to 1000000000, and not 0.';
    elsif p_pool is null or p_pool not in ('free', 'paid') then
        v_error := 'pool: must be free or paid.';
    elsif length(p_approved_by) not between 1 and 255 or p_approved_by = p_actor then
        v_error := 'approved_by: must be another administrator.';
    end if;
    if v_error is not null then
        perform base.refuse('invalid_request', v_error);
    end if;
    if abs(p_amount) > c_alone and p_approved_by is null then
        perform base.refuse('approval_required', format(
            'A second administrator has to approve more than %s credits.', c_alone
        ));
    end if;

    perform _credits.lock_balances(array[v_user_id], p_wait => true);
    select * into v_balance from credits.balances where user_id = v_user_id;
    if not found then
        perform base.refuse('not_found', 'This user has no credits account.');
    end if;
    select * into v_earlier from credits.causes where user_id = v_user_id and cause = v_cause;
    if found then
        select * into v_first from credits.transactions where user_id = v_user_id and id = v_earlier.transaction_id;
        if (v_first.amount, v_earlier.reason, v_earlier.note) is distinct from (p_amount, p_reason, p_note)
           or not exists (
               select from credits.ledger_entries
                where user_id = v_user_id and transaction_id = v_first.id
                  and p_pool in (debit_account, credit_account)
           ) then
            perform base.refuse('idempotency_key_reused');
        end if;
        return _credits.receipt(v_first, p_replayed => true);
    end if;

    v_available := least(
        case p_pool when 'free' then v_balance.free_credits_remaining else greatest(v_balance.balance, 0) end,
        _credits.spendable(v_balance)
    );
    if -p_amount > v_available then
        perform base.refuse('insufficient_credits', format(
            'Insufficient credits: %s required, %s available.', -p_amount, v_available
        ));
    end if;
    return _credits.receipt(_credits.post_for_cause(
        v_cause,
        row(
            v_user_id, 'adjustment', 'adjustments', v_free, p_amount - v_free, 'Adjustment', null,
            null, null, null, null
        )::credits.movement,
        null, p_reason, p_note, p_actor, p_approved_by
    ));
end
$$;

alter function credits.adjust owner to mana_ledger;
revoke all on function credits.adjust from public;
