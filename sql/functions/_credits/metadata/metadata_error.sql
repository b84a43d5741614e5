-- Called by _credits.spend.
--
-- What is wrong with the metadata of a request, null when nothing is. Its size is that of the text
-- which PostgreSQL makes of it, because that is what every list shows from then on: the ten
-- characters of 1e-9999999 or 1e308 are a page of digits there. Each check bounds the work of those
-- that follow, so that metadata of any size is refused in little time and memory.
create or replace function _credits.metadata_error(p_metadata jsonb)
returns text
language plpgsql
immutable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    c_too_long constant text := 'must have at most 4096 bytes as PostgreSQL writes it.';
begin
    if jsonb_typeof(p_metadata) <> 'object' then
        return 'must be an object.';
    end if;
    -- Stored, a value takes less than five times the bytes of its text.
    if pg_column_size(p_metadata) > 5 * 4096 then
        return c_too_long;
    end if;
    -- The range of a double precision number, beyond which many clients read infinity.
    if jsonb_path_exists(
           p_metadata, 'strict $.** ? (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308)'
       ) then
        return 'has a number out of range.';
    end if;
    if (
           select sum(scale(n.number::numeric)) > 4096
             from jsonb_path_query(p_metadata, 'strict $.** ? (@.type() == "number")') as n (number)
       )
       or octet_length(p_metadata::text) > 4096 then
        return c_too_long;
    end if;
    if jsonb_path_exists(p_metadata, 'strict $.**{32 to last}') then
        return 'must not be nested deeper than 32 levels.';
    end if;
    return null;
end
$$;

alter function _credits.metadata_error owner to mana_ledger;
revoke all on function _credits.metadata_error from public;
grant execute on function _credits.metadata_error to mana_ledger;
