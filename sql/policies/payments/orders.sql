alter table payments.orders enable row level security;
alter table payments.orders force row level security;

drop policy if exists "the payment functions see the rows of the users they act for" on payments.orders;
create policy "the payment functions see the rows of the users they act for" on payments.orders
    for all to mana_payments
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

drop policy if exists "the auditor reads every row" on payments.orders;
create policy "the auditor reads every row" on payments.orders
    for select to mana_auditor
    using (true);

revoke all on payments.orders from public;
grant select, insert on payments.orders to mana_payments;
grant update (session_id, paid, refunded, disputed, dispute, receipt_url, review, updated_at)
    on payments.orders to mana_payments;
grant select (
    user_id, purchase_id, livemode, currency, amount, paid, refunded, disputed, dispute, review, updated_at
) on payments.orders to mana_auditor;
