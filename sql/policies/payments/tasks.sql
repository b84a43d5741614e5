-- Whose purchase is to be looked at next has to be found out before it is known.
alter table payments.tasks enable row level security;
alter table payments.tasks force row level security;

drop policy if exists "the payment functions see every row" on payments.tasks;
create policy "the payment functions see every row" on payments.tasks
    for all to mana_payments
    using (true)
    with check (true);

revoke all on payments.tasks from public;
grant select, insert on payments.tasks to mana_payments;
grant update (dirty_seq, applied_seq, dirty_since, looked_at, due_at, attempts, failure)
    on payments.tasks to mana_payments;
