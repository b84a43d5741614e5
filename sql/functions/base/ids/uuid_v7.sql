-- Called by every function that makes a key.
--
-- A time-ordered UUID, version 7 (RFC 9562, section 5.7), for the moment p_at. The 12 bits after
-- the milliseconds count in steps of 1/4096 ms (section 6.2, method 3), so that moments a
-- microsecond apart sort as they happened; the last 62 bits are random. PostgreSQL 18 has
-- uuidv7(), which takes the time from the server's clock and not from its caller.
--
-- One expression without a FROM, so that it is inlined: PostgreSQL parses and plans any other
-- function in SQL again for every statement that calls it.
create or replace function base.uuid_v7(p_at timestamptz)
returns uuid
language sql
volatile
as $$
    select (
        lpad(to_hex((extract(epoch from p_at) * 1000000)::bigint / 1000), 12, '0')
        || '7' || lpad(to_hex((extract(epoch from p_at) * 1000000)::bigint % 1000 * 4096 / 1000), 3, '0')
        || right(gen_random_uuid()::text, 17)
    )::uuid
$$;

alter function base.uuid_v7 owner to mana_owner;
revoke all on function base.uuid_v7 from public;
grant execute on function base.uuid_v7 to mana_auth, mana_ledger, mana_payments;
