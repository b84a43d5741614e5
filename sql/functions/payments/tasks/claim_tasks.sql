-- Called by the worker.
--
-- Takes up to p_limit purchases that are due, the oldest first, and leases them for p_lease: two workers never
-- look at one purchase at once, and one that dies leaves its purchases to the others after that time. Returns for
-- each a new ticket to look with, what to look for, and the refunds that the provider has not been asked for yet.
--
-- Locks   the rows of those tasks; passes over tasks that others have locked.
create or replace function payments.claim_tasks(p_limit int, p_lease interval)
returns table (
    user_id uuid, purchase_id uuid, ticket bigint, livemode boolean, session_id text, customer_id text,
    created_at timestamptz, status credits.purchase_status, refunds json, attempts int
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now  constant timestamptz := base.clock();
    v_task payments.tasks;
    v_row  record;
begin
    for v_task in
        update payments.tasks as t
           set dirty_seq = t.dirty_seq + 1, due_at = v_now + p_lease, attempts = t.attempts + 1, looked_at = v_now
          from (
              select due.user_id, due.purchase_id
                from payments.tasks as due
               where due.due_at <= v_now
               order by due.due_at
               limit greatest(p_limit, 0)
                 for update skip locked
          ) as taken
         where t.user_id = taken.user_id and t.purchase_id = taken.purchase_id
        returning t.*
    loop
        perform auth.act_for(v_task.user_id);
        return query
        select c.user_id, c.purchase_id, v_task.dirty_seq, c.livemode, c.session_id, c.customer_id, c.created_at,
               c.status,
               (
                   select json_agg(json_build_object(
                              'id', r.id, 'amount', r.amount, 'reason', r.reason,
                              'payment_intent_id', c.stripe_payment_intent_id
                          ) order by r.id)
                     from payments.refunds as r
                    where r.user_id = c.user_id and r.purchase_id = c.purchase_id
                      and r.stripe_refund_id is null and r.failure is null
               ),
               v_task.attempts
          from _payments.checkout(v_task.purchase_id) as c;
    end loop;
end
$$;

alter function payments.claim_tasks owner to mana_payments;
revoke all on function payments.claim_tasks from public;
grant execute on function payments.claim_tasks to mana_worker;
