-- Called by trusted backends.
--
-- Gives back what a spend of p_app_id has charged the user of this transaction, p_amount of it or all that is left,
-- as _credits.reverse_spend does, and returns the receipt. The spend is named by its id or by its idempotency key: by
-- the key, this waits for the outcome of a spend that is still on its way. The backend's role is written down as the
-- one who decided it.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         PT403 app_not_allowed         the backend is not bound to p_app_id; see credits.bind_backend
--         PT400 invalid_request         not one of id and key
--         PT404 not_found               the user has no such spend in this app
--         PT400 invalid_request         the detail names the parameter
--         PT422 idempotency_key_reused  the key was another reversal's
--         PT409 reversal_exceeds_spend  less than p_amount, or nothing, is left
create or replace function credits.reverse_spend(
    p_app_id          text,
    p_reason          text,
    p_idempotency_key text,
    p_transaction_id  uuid default null,
    p_spend_key       text default null,
    p_amount          bigint default null,
    p_note            text default null
)
returns credits.receipt
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_spend   credits.transactions;
begin
    if p_app_id <> all (_credits.bound_apps()) then
        perform base.refuse('app_not_allowed');
    end if;
    if num_nonnulls(p_transaction_id, p_spend_key) <> 1 then
        perform base.refuse('invalid_request', 'transaction_id: either it or spend_key is required.');
    end if;

    perform _credits.lock_balances(array[v_user_id], p_wait => true);
    if p_transaction_id is not null then
        select * into v_spend
          from credits.transactions
         where user_id = v_user_id and id = p_transaction_id and app_id = p_app_id;
    else
        select * into v_spend
          from credits.transactions
         where user_id = v_user_id and app_id = p_app_id and idempotency_key = p_spend_key;
    end if;
    return _credits.reverse_spend(v_spend, p_amount, p_reason, p_note, session_user::text, p_idempotency_key);
end
$$;

alter function credits.reverse_spend owner to mana_ledger;
revoke all on function credits.reverse_spend from public;
grant execute on function credits.reverse_spend to mana_backend;
