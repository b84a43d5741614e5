-- Called by payments.receive_event and payments.apply_snapshot.
--
-- What the provider says of a purchase, out of JSON.
--
-- Raises  PT400 invalid_request  it is none
create or replace function _payments.snapshot(p_snapshot jsonb)
returns payments.snapshot
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_populate_record(null::payments.snapshot, p_snapshot);
exception
    when data_exception then
        perform base.refuse('invalid_request', 'snapshot: must be an object of the right fields.');
        return null;
end
$$;

alter function _payments.snapshot owner to mana_payments;
revoke all on function _payments.snapshot from public;
grant execute on function _payments.snapshot to mana_payments;
