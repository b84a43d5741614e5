-- Called by the api functions that list.
--
-- The reply with these items, an empty list when p_items is null. Where there are more, the header
-- X-Next-Before has the cursor p_next; the gateway makes the Link of it.
create or replace function api.page(p_items json, p_next uuid default null)
returns api.reply
language sql
volatile
as $$
    select api.ok(
        coalesce(p_items, '[]'), case when p_next is not null then json_build_object('X-Next-Before', p_next) end
    )
$$;

alter function api.page owner to mana_api;
revoke all on function api.page from public;
grant execute on function api.page to mana_api;
