-- Holds nothing of a user.
alter table payments.events enable row level security;
alter table payments.events force row level security;

drop policy if exists "the payment functions see every row" on payments.events;
create policy "the payment functions see every row" on payments.events
    for all to mana_payments
    using (true)
    with check (true);

revoke all on payments.events from public;
grant select, insert on payments.events to mana_payments;
