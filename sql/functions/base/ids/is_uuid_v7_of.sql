-- Called by _credits.find_discrepancies.
--
-- Whether an id is what base.uuid_v7 makes for the moment p_at; which of them does not matter. Null is
-- of no moment. It works on bytes and on a double, which is exact until the year 2106: a check
-- of the ledger does this for every row.
create or replace function base.is_uuid_v7_of(p_id uuid, p_at timestamptz)
returns boolean
language sql
stable
parallel safe
as $$
    select coalesce(
        substr(uuid_send(p_id), 1, 8) = int8send(
            (round(date_part('epoch', p_at) * 1000000)::bigint / 1000 << 16)
            | x'7000'::bigint
            | round(date_part('epoch', p_at) * 1000000)::bigint % 1000 * 4096 / 1000
        ),
        false
    )
$$;

alter function base.is_uuid_v7_of owner to mana_owner;
revoke all on function base.is_uuid_v7_of from public;
grant execute on function base.is_uuid_v7_of to mana_auditor;
