-- Called by api.get_purchase, api.start_refund and payments.visit.
--
-- A ticket to look at a purchase at the provider right now, if it may still change: whoever comes back from paying
-- sees their credits though all news was lost. Null when somebody looked less than two seconds ago, so that polling
-- costs the provider little, and for a purchase that is past paying.
--
-- Locks   the task's row.
-- Raises  PT401 authentication_required
create or replace function payments.take_ticket(p_purchase_id uuid)
returns bigint
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_now     constant timestamptz := base.clock();
    v_ticket  bigint;
begin
    update payments.tasks
       set dirty_seq = dirty_seq + 1, looked_at = v_now
     where user_id = v_user_id and purchase_id = p_purchase_id
       and (looked_at is null or looked_at <= v_now - interval '2 seconds')
       and due_at is not null
    returning dirty_seq into v_ticket;
    return v_ticket;
end
$$;

alter function payments.take_ticket owner to mana_payments;
revoke all on function payments.take_ticket from public;
grant execute on function payments.take_ticket to mana_api;
