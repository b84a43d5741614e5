alter table payments.refunds enable row level security;
alter table payments.refunds force row level security;

drop policy if exists "the payment functions see the rows of the users they act for" on payments.refunds;
create policy "the payment functions see the rows of the users they act for" on payments.refunds
    for all to mana_payments
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on payments.refunds from public;
grant select, insert on payments.refunds to mana_payments;
grant update (stripe_refund_id, failure) on payments.refunds to mana_payments;
