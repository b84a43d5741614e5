-- Called by POST /api/v1/webhooks/stripe.
--
-- Raises  what payments.receive_event raises
create or replace function api.receive_event(
    p_context     text,
    p_event_id    text,
    p_endpoint    text,
    p_type        text,
    p_api_version text,
    p_created_at  timestamptz,
    p_digest      bytea,
    p_object_ids  text[],
    p_deployment  uuid,
    p_user_id     uuid,
    p_purchase_id uuid,
    p_snapshot    jsonb
)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform auth.begin_anonymous_request(p_context);
    perform payments.receive_event(
        p_event_id => p_event_id, p_endpoint => p_endpoint, p_type => p_type, p_api_version => p_api_version,
        p_created_at => p_created_at, p_digest => p_digest, p_object_ids => p_object_ids,
        p_deployment => p_deployment, p_user_id => p_user_id, p_purchase_id => p_purchase_id,
        p_snapshot => p_snapshot
    );
    return api.ok(json_build_object('received', true));
end
$$;

alter function api.receive_event owner to mana_api;
revoke all on function api.receive_event from public;
grant execute on function api.receive_event to mana_gateway;
