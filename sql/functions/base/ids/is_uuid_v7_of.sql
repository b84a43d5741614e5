-- Called by _credits.find_discrepancies.
--
-- Whether an id is what base.uuid_v7 makes for the moment p_at; which of them does not matter. Null is
-- of no moment, and no id is of a moment before 1970 or after 2105. It works on bytes and on a double,
-- which is exact for that long: a check of the ledger does this for every row.
create or replace function base.is_uuid_v7_of(p_id uuid, p_at timestamptz)
returns boolean
language sql
stable
parallel safe
as $$
    select case
        when p_id is not null and p_at >= '1970-01-01 Z' and p_at < '2106-01-01 Z'
            then substr(uuid_send(p_id), 1, 8) = int8send(
                (round(date_part('epoch', p_at) * 1000000)::bigint / 1000 << 16)
                | x'7000'::bigint
                | round(date_part('epoch', p_at) * 1000000)::bigint % 1000 * 4096 / 1000
            )
        else false
    end
$$;

alter function base.is_uuid_v7_of owner to mana_owner;
revoke all on function base.is_uuid_v7_of from public;
grant execute on function base.is_uuid_v7_of to mana_auditor;
