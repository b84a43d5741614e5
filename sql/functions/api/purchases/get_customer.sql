-- Called by POST /api/v1/credits/portal.
--
-- Raises  PT401 as auth.begin_request does   PT404 not_found
create or replace function api.get_customer(p_user_id uuid, p_claims text, p_context text, p_livemode boolean)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    return api.ok(json_build_object('customerId', payments.get_customer(p_livemode)));
end
$$;

alter function api.get_customer owner to mana_api;
revoke all on function api.get_customer from public;
grant execute on function api.get_customer to mana_gateway;
