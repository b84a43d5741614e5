-- Called by GET /api/v1/credits/transactions.
--
-- Where there are more, the header X-Next-Before has the cursor; the gateway makes the Link of it.
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
returns api.response
language plpgsql
volatile
as $$
declare
    v_page credits.receipt[];
    v_body json;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);

    if p_limit is null or p_limit not between 1 and 100 then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'limit: must be a whole number from 1 to 100.';
    end if;

    -- One more than asked for tells whether there is a next page.
    v_page := array(
        select t
          from credits.list_transactions(
                   p_limit => p_limit + 1, p_offset => p_offset, p_before => p_before, p_type => p_type, p_app_id => p_app_id
               ) as t
    );
    select coalesce(json_agg(api.transaction_json(t)), '[]') into v_body from unnest(v_page[:p_limit]) as t;
    return (
        200, v_body,
        case when cardinality(v_page) > p_limit then json_build_object('X-Next-Before', (v_page[p_limit]).id) end
    );
end
$$;

alter function api.list_transactions owner to mana_owner;
revoke all on function api.list_transactions from public;
grant execute on function api.list_transactions to mana_gateway;
