-- Called by trusted backends.
--
-- A page as credits.page_of_transactions returns it, as rows. It may have less than p_limit of them
-- before the last page: only an empty one comes behind the last.
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
begin
    return query
        select t.*
          from credits.page_of_transactions(
                   p_limit => p_limit, p_offset => p_offset, p_before => p_before, p_type => p_type, p_app_id => p_app_id
               ) as p,
               unnest(p.page) as t;
end
$$;

alter function credits.list_transactions owner to mana_ledger;
revoke all on function credits.list_transactions from public;
-- The api functions of release 0.1 call it as well, and may be running while a deploy replaces them.
grant execute on function credits.list_transactions to mana_api, mana_backend;
