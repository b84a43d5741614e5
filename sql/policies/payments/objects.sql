-- Whose purchase an object of the provider is has to be found out before it is known.
alter table payments.objects enable row level security;
alter table payments.objects force row level security;

drop policy if exists "the payment functions see every row" on payments.objects;
create policy "the payment functions see every row" on payments.objects
    for all to mana_payments
    using (true)
    with check (true);

revoke all on payments.objects from public;
grant select, insert on payments.objects to mana_payments;
