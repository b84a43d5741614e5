-- Called by POST /api/v1/credits/use.
--
-- Raises  PT401 as auth.begin_request does, then what credits.try_to_use_credits raises;
--         returns 402 insufficient_credits
create or replace function api.use_credits(
    p_user_id          uuid,
    p_claims           text,
    p_context          text,
    p_amount           bigint,
    p_app_id           text,
    p_description      text,
    p_idempotency_key  text,
    p_metadata         jsonb,
    p_expected_version bigint
)
returns api.response
language plpgsql
volatile
as $$
declare
    v_receipt credits.receipt;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    v_receipt := credits.try_to_use_credits(
        p_amount => p_amount, p_app_id => p_app_id, p_description => p_description,
        p_idempotency_key => p_idempotency_key, p_metadata => p_metadata, p_expected_version => p_expected_version
    );
    if v_receipt.id is null then
        return (402, json_build_object('code', 'insufficient_credits', 'detail', 'Not enough credits.'), null::json);
    end if;
    return api.use_credits_answer(v_receipt);
end
$$;

alter function api.use_credits owner to mana_owner;
revoke all on function api.use_credits from public;
grant execute on function api.use_credits to mana_gateway;
