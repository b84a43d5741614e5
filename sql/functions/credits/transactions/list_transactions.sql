-- Called by api.list_transactions and by trusted backends.
--
-- The transactions of the user of this transaction, newest first: p_limit of them (1 to 100) after
-- the first p_offset, of one type or app when asked. p_before is the id of the last one seen; its
-- cost does not grow with depth, as that of p_offset does. A backend sees the apps that it is bound to. A filter that matches little reads the
-- user's history until the page is full; an index for each would cost every spend.
--
-- Raises  PT401 authentication_required
--         PT400 invalid_request        the detail names the field
create or replace function credits.list_transactions(
    p_limit  int default 50,
    p_offset int default 0,
    p_before uuid default null,
    p_type   credits.transaction_type default null,
    p_app_id text default null
)
returns setof credits.receipt
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_apps    constant text[] := _credits.bound_apps();
    -- A variable, not an expression in the query: only that is sure to be searched for in the index,
    -- whatever the plan, below row-level security.
    v_before  constant uuid := coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
begin
    if p_limit is null or p_limit not between 1 and 100 then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'limit: must be a whole number from 1 to 100.';
    end if;
    if p_offset is null or p_offset < 0 then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'offset: must be a whole number from 0.';
    end if;

    return query
        with page as materialized (  -- or each column would make the receipt again
            select _credits.receipt(t) as receipt
              from credits.transactions as t
             where t.user_id = v_user_id
               and t.id < v_before
               and (p_type is null or t.type = p_type)
               and (p_app_id is null or t.app_id = p_app_id)
               and (v_apps is null or t.app_id = any (v_apps))
             order by t.id desc
             limit p_limit
            offset p_offset
        )
        select (p.receipt).* from page as p;
end
$$;

alter function credits.list_transactions owner to mana_ledger;
revoke all on function credits.list_transactions from public;
grant execute on function credits.list_transactions to mana_api, mana_backend;
