-- Called by GET /api/v1/credits/balance.
--
-- Raises  PT401 as auth.begin_request does   PT404 not_found
create or replace function api.get_balance(p_user_id uuid, p_claims text, p_context text)
returns api.response
language plpgsql
volatile
as $$
declare
    v_summary credits.balance_summary;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    v_summary := credits.get_balance();
    return api.get_balance_answer(v_summary);
end
$$;

alter function api.get_balance owner to mana_owner;
revoke all on function api.get_balance from public;
grant execute on function api.get_balance to mana_gateway;
