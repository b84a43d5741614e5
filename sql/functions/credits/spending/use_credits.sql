-- Called by trusted backends.
--
-- Spends p_amount credits of the user of this transaction as credits.spend_all does, and returns the
-- receipt. p_expected_version is the balance's version that the caller decided upon; a grant that this
-- very call pays does not count. A refusal is raised, so that the backend's own rows go back as well.
--
-- Locks   the user's balance row.
-- Raises  PT401 authentication_required
--         PT403 app_not_allowed        the backend is not bound to p_app_id; see credits.bind_backend
--         PT404 not_found              the user has no account
--         PT400 invalid_request        the detail names the parameter
--         PT422 idempotency_key_reused the key was another request's
--         PT409 version_conflict       PT402 insufficient_credits
create or replace function credits.use_credits(
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
    v_request constant credits.spend_request := row(
        1, auth.uid(), p_amount, p_app_id, p_description, p_idempotency_key, p_metadata, p_expected_version
    );
    v_outcome record;
begin
    if p_app_id <> all (_credits.bound_apps()) then
        perform base.refuse('app_not_allowed');
    end if;
    select * into strict v_outcome from credits.spend_all(array[v_request], p_wait => true);
    if v_outcome.code is not null then
        perform base.refuse(v_outcome.code, v_outcome.detail);
    end if;
    return v_outcome.receipt;
end
$$;

alter function credits.use_credits owner to mana_ledger;
revoke all on function credits.use_credits from public;
grant execute on function credits.use_credits to mana_backend;
