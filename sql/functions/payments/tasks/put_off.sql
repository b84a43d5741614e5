-- Called by the worker.
--
-- Puts a purchase off that could not be looked at: the more attempts, the longer, up to an hour. p_failure is a
-- code for operators.
--
-- Locks   the task's row.
create or replace function payments.put_off(p_user_id uuid, p_purchase_id uuid, p_failure text)
returns void
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
    update payments.tasks
       set failure = left(p_failure, 255),
           due_at = base.clock() + least(interval '2 seconds' * 2 ^ least(attempts, 12), interval '1 hour')
     where user_id = p_user_id and purchase_id = p_purchase_id
$$;

alter function payments.put_off owner to mana_payments;
revoke all on function payments.put_off from public;
grant execute on function payments.put_off to mana_worker;
