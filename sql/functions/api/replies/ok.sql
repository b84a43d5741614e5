-- Called by every api function that has something to answer.
--
-- The reply with this body.
create or replace function api.ok(p_body json, p_headers json default null, p_status int default 200)
returns api.reply
language sql
volatile
as $$
    select row(p_status, p_body, p_headers, base.take_notes())::api.reply
$$;

alter function api.ok owner to mana_api;
revoke all on function api.ok from public;
grant execute on function api.ok to mana_api;
