-- Called by api.use_credits and credits.use_credits.
--
-- Spends p_amount credits of the user of this transaction, free ones first, and returns the
-- receipt. The same p_idempotency_key with the same request is a retry: nothing is charged and
-- the first receipt comes again, replayed. A key is the user's own and lasts for ever; refusals
-- are not kept, so a retry of a refused request is judged anew. p_expected_version is the
-- balance's version the caller decided upon; a grant that this very call pays does not count.
--
-- Returns null when credits are short: the daily grant that this call may have paid stays paid, and
-- raising would take it back.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         PT400 invalid_request        the detail names the field
--         PT404 not_found              the user has no account
--         PT422 idempotency_key_reused the key was another request's
--         PT409 version_conflict
create or replace function credits.try_to_use_credits(
    p_amount           bigint,
    p_app_id           text,
    p_description      text,
    p_idempotency_key  text default null,
    p_metadata         jsonb default null,
    p_expected_version bigint default null
)
returns credits.receipt
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := credits.require_user();
    v_invalid text;
    v_locked  record;
    v_earlier credits.transactions;
    v_posted  credits.transactions;
    v_free    bigint;
begin
    v_invalid := case
        when p_amount is null or p_amount not between 1 and 1000000000
            then 'amount: must be a whole number from 1 to 1000000000.'
        when p_app_id is null or length(p_app_id) not between 1 and 100
            then 'appId: must have 1 to 100 characters.'
        when p_description is null or length(p_description) not between 1 and 500
            then 'description: must have 1 to 500 characters.'
        when length(p_idempotency_key) not between 1 and 255
            then 'idempotencyKey: must have 1 to 255 characters.'
        when jsonb_typeof(p_metadata) <> 'object'
            then 'metadata: must be an object.'
    end;
    if v_invalid is not null then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = v_invalid;
    end if;

    v_locked := credits.lock_balance();

    if p_idempotency_key is not null then
        select * into v_earlier
          from credits.transactions
         where user_id = v_user_id and idempotency_key = p_idempotency_key;
        if found then
            if (v_earlier.type, -v_earlier.amount, v_earlier.app_id, v_earlier.description, v_earlier.metadata)
               is distinct from ('usage'::credits.transaction_type, p_amount, p_app_id, p_description, p_metadata) then
                raise sqlstate 'PT422' using
                    message = 'idempotency_key_reused',
                    detail = 'This idempotency key was used for another request.';
            end if;
            return credits.receipt(v_earlier, p_replayed => true);
        end if;
    end if;

    if p_expected_version <> v_locked.found_version then
        raise sqlstate 'PT409' using
            message = 'version_conflict', detail = 'The balance has changed. Read it again and decide anew.';
    end if;
    if p_amount > (v_locked.balance).balance + (v_locked.balance).free_credits_remaining then
        return null;  -- not raised: that would take back the grant that was just paid
    end if;

    v_free := least(p_amount, (v_locked.balance).free_credits_remaining);
    v_posted := credits.post_movement(
        p_type => 'usage', p_counter_account => 'usage', p_free => -v_free, p_paid => v_free - p_amount,
        p_description => p_description, p_app_id => p_app_id, p_metadata => p_metadata,
        p_idempotency_key => p_idempotency_key
    );
    return credits.receipt(v_posted);
end
$$;

alter function credits.try_to_use_credits owner to mana_ledger;
revoke all on function credits.try_to_use_credits from public;
grant execute on function credits.try_to_use_credits to mana_gateway, mana_ledger;
