-- Called by trusted backends.
--
-- Spends p_amount credits of the user of this transaction as credits.try_to_use_credits does, and
-- raises when credits are short, so that the backend's own rows go back as well.
--
-- Locks   the user's balance row.
-- Raises  what credits.try_to_use_credits raises, then PT402 insufficient_credits
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
    v_receipt constant credits.receipt := credits.try_to_use_credits(
        p_amount => p_amount, p_app_id => p_app_id, p_description => p_description,
        p_idempotency_key => p_idempotency_key, p_metadata => p_metadata, p_expected_version => p_expected_version
    );
begin
    if v_receipt.id is null then
        raise sqlstate 'PT402' using message = 'insufficient_credits', detail = 'Not enough credits.';
    end if;
    return v_receipt;
end
$$;

alter function credits.use_credits owner to mana_ledger;
revoke all on function credits.use_credits from public;
grant execute on function credits.use_credits to mana_backend;
