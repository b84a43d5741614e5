-- Called by api.receive_event and by the worker, with events whose signature was checked or that were fetched.
--
-- Takes news of the provider: an event only says which object to look at again. A payment that it proves is booked
-- at once, everything else marks the purchase for the worker. The event is kept in the same transaction, for the
-- record and for "seen": if this fails, the provider comes again. Returns what became of it:
--
--   booked     the payment is in the books
--   noted      the worker looks at the purchase
--   repeated   this event was here before
--   unknown    no purchase of ours; one whose payment is not known yet is looked at whole when that comes
--   foreign    it is of another deployment on the same account
--
-- Locks   the user's balance row when it books, then the order; the task's row.
-- Raises  PT400 invalid_request  the detail names the parameter
--         PT503 not_visible_yet  the purchase is ours and its row is not here (yet): to be sent again
create or replace function payments.receive_event(
    p_event_id    text,
    p_endpoint    text,
    p_type        text,
    p_api_version text,
    p_created_at  timestamptz,
    p_digest      bytea,
    p_object_ids  text[],
    p_deployment  uuid,
    p_user_id     uuid,
    p_purchase_id uuid,
    p_snapshot    jsonb
)
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_seen        constant payments.snapshot := _payments.snapshot(p_snapshot);
    v_user_id     uuid;
    v_purchase_id uuid;
    v_outcome     text;
begin
    if not coalesce(
        length(p_event_id) between 1 and 255 and length(p_type) between 1 and 255 and length(p_digest) = 32
        and length(p_endpoint) between 1 and 100 and length(coalesce(p_api_version, '-')) between 1 and 100
        and length(coalesce(p_object_ids[1], '-')) between 1 and 255
        and length(coalesce(v_seen.currency, '-')) between 1 and 10 and isfinite(p_created_at),
        false
    ) then
        perform base.refuse('invalid_request', 'event: must have an id, a type, an endpoint, a digest and a time.');
    end if;

    if p_deployment is not null and p_deployment <> (select deployment from payments.settings) then
        v_outcome := 'foreign';
    elsif p_deployment is not null and p_user_id is not null and p_purchase_id is not null then
        v_user_id := p_user_id;
        v_purchase_id := p_purchase_id;
    else
        select user_id, purchase_id into v_user_id, v_purchase_id
          from payments.objects where id = any (p_object_ids) limit 1;
        if not found then
            v_outcome := 'unknown';
        end if;
    end if;

    if v_outcome is null then
        begin
            perform auth.act_for(v_user_id);
        exception
            when sqlstate 'PT404' then
                perform base.refuse('not_visible_yet');
        end;
        if not exists (
            select from payments.orders where user_id = v_user_id and purchase_id = v_purchase_id
        ) then
            perform base.refuse('not_visible_yet');
        end if;
        v_outcome := case when v_seen.payment_status in ('paid', 'no_payment_required') then 'booked' else 'noted' end;
        if v_outcome = 'booked' then
            perform credits.lock_account();
        end if;
    end if;

    insert into payments.events (
        id, endpoint, type, api_version, livemode, object_id, amount, currency, digest, outcome, created_at, received_at
    )
    values (
        p_event_id, p_endpoint, p_type, p_api_version, coalesce(v_seen.livemode, false), p_object_ids[1],
        v_seen.amount_total, v_seen.currency, p_digest, v_outcome, p_created_at, base.clock()
    )
    on conflict (id, endpoint) do nothing;
    if not found then
        v_outcome := 'repeated';
    end if;
    perform base.note_event('payment_' || v_outcome);
    if v_outcome not in ('booked', 'noted') then
        return v_outcome;
    end if;

    perform _payments.know_objects(v_user_id, v_purchase_id, v_seen.session_id, p_object_ids);
    if v_outcome = 'booked' and (credits.get_purchase(v_purchase_id)).completed_at is null then
        perform _payments.book_payment(v_user_id, v_purchase_id, v_seen);
    end if;
    perform _payments.mark_dirty(v_user_id, v_purchase_id);
    return v_outcome;
end
$$;

alter function payments.receive_event owner to mana_payments;
revoke all on function payments.receive_event from public;
grant execute on function payments.receive_event to mana_api, mana_worker;
