-- Called by the shapes.
--
-- A time as JSON has it here: ISO 8601, UTC, milliseconds.
create or replace function api.iso_time(p_time timestamptz)
returns text
language sql
stable
parallel safe
as $$
    select to_char(p_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

alter function api.iso_time owner to mana_api;
revoke all on function api.iso_time from public;
grant execute on function api.iso_time to mana_api;
