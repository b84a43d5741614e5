-- Called by functions that do what an operator counts: auth.record_event, and those that pay grants.
--
-- Leaves word of it for the caller of this transaction: request.events, words apart by spaces, each an
-- event and, where there is one, =amount. It ends with the transaction; the gateway reads it with the
-- answer and counts it.
create or replace function auth.note_event(p_event text, p_amount bigint default null)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config(
        'request.events',
        concat_ws(' ', nullif(current_setting('request.events', true), ''), concat_ws('=', p_event, p_amount)),
        true
    );
end
$$;

alter function auth.note_event owner to mana_auth;
revoke all on function auth.note_event from public;
grant execute on function auth.note_event to mana_ledger;
