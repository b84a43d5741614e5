-- Called by POST /api/v1/credits/purchase, as its second call.
--
-- Raises  what payments.note_checkout raises
create or replace function api.note_checkout(
    p_context text, p_user_id uuid, p_purchase_id uuid, p_customer_id text, p_session_id text
)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.begin_anonymous_request(p_context);
    perform payments.note_checkout(
        p_user_id => p_user_id, p_purchase_id => p_purchase_id, p_customer_id => p_customer_id,
        p_session_id => p_session_id
    );
    return api.ok('{}');
end
$$;

alter function api.note_checkout owner to mana_api;
revoke all on function api.note_checkout from public;
grant execute on function api.note_checkout to mana_gateway;
