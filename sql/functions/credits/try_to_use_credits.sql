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
    v_user_id  constant uuid := credits.require_user();
    v_locked   record;
    v_spending credits.spending;
    v_spent    record;
begin
    v_locked := credits.lock_balance();
    v_spending := row(
        v_user_id, p_amount, p_app_id, p_description, p_idempotency_key, p_metadata,
        p_expected_version, v_locked.found_version
    );
    select * into strict v_spent from credits.spend(array[v_spending]);

    case v_spent.refusal
        when 'invalid_request' then
            raise sqlstate 'PT400' using message = 'invalid_request', detail = v_spent.detail;
        when 'idempotency_key_reused' then
            raise sqlstate 'PT422' using
                message = 'idempotency_key_reused', detail = 'This idempotency key was used for another request.';
        when 'version_conflict' then
            raise sqlstate 'PT409' using
                message = 'version_conflict', detail = 'The balance has changed. Read it again and decide anew.';
        else
            -- Short credits are not raised: that would take back the grant that was just paid.
            return v_spent.receipt;
    end case;
end
$$;

alter function credits.try_to_use_credits owner to mana_ledger;
revoke all on function credits.try_to_use_credits from public;
grant execute on function credits.try_to_use_credits to mana_gateway, mana_ledger;
