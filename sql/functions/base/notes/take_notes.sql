-- Called by api.ok and api.refused.
--
-- Returns what base.note_event has noted in this transaction, and forgets it: of many replies to one
-- statement, one has the notes.
create or replace function base.take_notes()
returns text
language sql
volatile
as $$
    select coalesce(current_setting('request.events', true), '') || set_config('request.events', '', true)
$$;

alter function base.take_notes owner to mana_owner;
revoke all on function base.take_notes from public;
grant execute on function base.take_notes to mana_api;
