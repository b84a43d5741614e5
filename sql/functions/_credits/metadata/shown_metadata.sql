-- Called by _credits.receipt.
--
-- The metadata of a transaction as its callers get it. What was stored before metadata was bounded
-- may be longer than a page or deeper than clients read: {"omitted": true} stands for more than
-- 1,000,000 bytes of text and for more than 32 levels. The ledger keeps it unchanged.
create or replace function _credits.shown_metadata(p_metadata jsonb)
returns jsonb
language plpgsql
immutable
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_metadata is null then
        return null;
    end if;
    if pg_column_size(p_metadata) > 5 * 65536
       or jsonb_path_exists(p_metadata, 'strict $.**{32 to last}') then
        return '{"omitted": true}';
    end if;
    if pg_column_size(p_metadata) <= 5 * 4096 then
        return p_metadata;
    end if;
    if jsonb_path_exists(
           p_metadata, 'strict $.** ? (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308)'
       )
       or (
           select sum(scale(n.number::numeric)) > 1000000
             from jsonb_path_query(p_metadata, 'strict $.** ? (@.type() == "number")') as n (number)
       )
       or octet_length(p_metadata::text) > 1000000 then
        return '{"omitted": true}';
    end if;
    return p_metadata;
end
$$;

alter function _credits.shown_metadata owner to mana_ledger;
revoke all on function _credits.shown_metadata from public;
grant execute on function _credits.shown_metadata to mana_ledger;
