-- Holds nothing of a user.
alter table payments.settings enable row level security;
alter table payments.settings force row level security;

drop policy if exists "the payment functions see every row" on payments.settings;
create policy "the payment functions see every row" on payments.settings
    for all to mana_payments
    using (true)
    with check (true);

revoke all on payments.settings from public;
grant select on payments.settings to mana_payments;
grant update (refundable_for, updated_at) on payments.settings to mana_payments;
