-- Called by GET /api/v1/credits/transactions.
--
-- With a filter, a page may have less than p_limit transactions, or none, before the last one. Gateways
-- of release 0.1 do not name p_idempotency_key, which is looked up and no such filter.
--
-- Raises  PT401 as auth.begin_request does   PT400 invalid_request
create or replace function api.list_transactions(
    p_user_id         uuid,
    p_claims          text,
    p_context         text,
    p_limit           int,
    p_offset          int,
    p_before          uuid,
    p_type            credits.transaction_type,
    p_app_id          text,
    p_idempotency_key text default null
)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    c_read constant int := 20000;  -- transactions that a filter may look at
    v_page credits.receipt[];
    v_next uuid;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    if p_idempotency_key is not null then
        v_page := array(
            select t
              from credits.find_transaction(p_idempotency_key, p_app_id) as t
             where (p_type is null or t.type = p_type)
               and (p_before is null or t.id < p_before)
             order by t.id desc
            offset greatest(p_offset, 0)
             limit greatest(p_limit, 0)
        );
        return api.page((select json_agg(api.transaction(t)) from unnest(v_page) as t), null);
    end if;
    select p.page, p.next_before
      into v_page, v_next
      from credits.page_of_transactions(
               p_limit => p_limit, p_offset => p_offset, p_before => p_before, p_type => p_type, p_app_id => p_app_id,
               p_read => c_read
           ) as p;
    return api.page((select json_agg(api.transaction(t)) from unnest(v_page) as t), v_next);
end
$$;

alter function api.list_transactions(uuid, text, text, int, int, uuid, credits.transaction_type, text, text)
    owner to mana_api;
revoke all on function api.list_transactions(uuid, text, text, int, int, uuid, credits.transaction_type, text, text)
    from public;
grant execute on function api.list_transactions(uuid, text, text, int, int, uuid, credits.transaction_type, text, text)
    to mana_gateway;
