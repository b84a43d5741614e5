alter table payments.customers enable row level security;
alter table payments.customers force row level security;

drop policy if exists "the payment functions see the rows of the users they act for" on payments.customers;
create policy "the payment functions see the rows of the users they act for" on payments.customers
    for all to mana_payments
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on payments.customers from public;
grant select, insert on payments.customers to mana_payments;
grant update (customer_id) on payments.customers to mana_payments;
