-- Called by api.list_transactions, credits.list_transactions and by trusted backends.
--
-- A page of the transactions of the user of this transaction, newest first: p_limit of them (1 to
-- 100) after the first p_offset (up to 10,000), of one type or app when asked. p_before is the id of
-- the last one seen; its cost does not grow with depth, as that of p_offset does. next_before is the
-- p_before of the next page, null behind the last. A backend sees the apps that it is bound to.
--
-- A page ends early when its metadata has more than 500,000 bytes. A filter that matches little
-- reads the user's history until the page is full, because an index for each would cost every spend;
-- with p_read it reads only so many transactions, p_offset skips what it finds in these, and the page
-- may be empty before the last.
--
-- Raises  PT401 authentication_required
--         PT400 invalid_request        the detail names the field
create or replace function credits.page_of_transactions(
    p_limit         int default 50,
    p_offset        int default 0,
    p_before        uuid default null,
    p_type          credits.transaction_type default null,
    p_app_id        text default null,
    p_read          int default null,
    out page        credits.receipt[],
    out next_before uuid
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    c_bytes   constant int := 500000;
    v_user_id constant uuid := auth.require_user();
    v_apps    constant text[] := _credits.bound_apps();
    -- Variables, not expressions in the query: only these are sure to be searched for in the index,
    -- whatever the plan, below row-level security.
    v_before  constant uuid := coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    v_to      uuid := '00000000-0000-0000-0000-000000000000';
    v_found   credits.transactions;
    v_receipt credits.receipt;
    v_bytes   int := 0;
    v_last    uuid[];
begin
    if p_limit is null or p_limit not between 1 and 100 then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'limit: must be a whole number from 1 to 100.';
    end if;
    if p_offset is null or p_offset not between 0 and 10000 then
        raise sqlstate 'PT400' using
            message = 'invalid_request', detail = 'offset: must be a whole number from 0 to 10000.';
    end if;
    if p_read < 1 then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'read: must be a whole number from 1.';
    end if;

    if p_read is not null and coalesce(p_type::text, p_app_id, v_apps::text) is not null then
        v_last := array(
            select id
              from credits.transactions
             where user_id = v_user_id
               and id < v_before
             order by id desc
             limit 2
            offset p_read - 1
        );
        v_to := coalesce(v_last[1], v_to);
    end if;

    page := '{}';
    for v_found in
        select *
          from credits.transactions as t
         where t.user_id = v_user_id
           and t.id < v_before
           and t.id >= v_to
           and (p_type is null or t.type = p_type)
           and (p_app_id is null or t.app_id = p_app_id)
           and (v_apps is null or t.app_id = any (v_apps))
         order by t.id desc
         limit p_limit + 1  -- one more tells whether there is a next page
        offset p_offset
    loop
        v_receipt := _credits.receipt(v_found);
        v_bytes := v_bytes + coalesce(octet_length(v_receipt.metadata::text), 0);
        if cardinality(page) = p_limit or (v_bytes > c_bytes and cardinality(page) > 0) then
            next_before := page[cardinality(page)].id;
            return;
        end if;
        page := page || v_receipt;
    end loop;
    next_before := case when cardinality(v_last) = 2 then v_to end;
end
$$;

alter function credits.page_of_transactions owner to mana_ledger;
revoke all on function credits.page_of_transactions from public;
grant execute on function credits.page_of_transactions to mana_api, mana_backend;
