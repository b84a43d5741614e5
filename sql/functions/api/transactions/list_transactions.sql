-- Called by GET /api/v1/credits/transactions.
--
-- Raises  PT401 as auth.begin_request does   PT400 invalid_request
create or replace function api.list_transactions(
    p_user_id uuid,
    p_claims  text,
    p_context text,
    p_limit   int,
    p_offset  int,
    p_before  uuid,
    p_type    credits.transaction_type,
    p_app_id  text
)
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_page credits.receipt[];
    v_next uuid;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    v_page := array(
        select t
          from credits.list_transactions(
                   p_limit => p_limit, p_offset => p_offset, p_before => p_before, p_type => p_type, p_app_id => p_app_id
               ) as t
    );
    -- A full page has a next one when anything comes after its last transaction.
    if cardinality(v_page) = p_limit and exists (
        select from credits.list_transactions(
                        p_limit => 1, p_before => v_page[p_limit].id, p_type => p_type, p_app_id => p_app_id
                    )
    ) then
        v_next := v_page[p_limit].id;
    end if;
    return api.page((select json_agg(api.transaction(t)) from unnest(v_page) as t), v_next);
end
$$;

alter function api.list_transactions owner to mana_api;
revoke all on function api.list_transactions from public;
grant execute on function api.list_transactions to mana_gateway;
