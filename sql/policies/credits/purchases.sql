alter table credits.purchases enable row level security;
alter table credits.purchases force row level security;

drop policy if exists "the ledger functions see the rows of the users they act for" on credits.purchases;
create policy "the ledger functions see the rows of the users they act for" on credits.purchases
    for all to mana_ledger
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

drop policy if exists "the auditor reads every row" on credits.purchases;
create policy "the auditor reads every row" on credits.purchases
    for select to mana_auditor
    using (true);

revoke all on credits.purchases from public;
grant select, insert on credits.purchases to mana_ledger;
grant update (stripe_payment_intent_id, status, completed_at) on credits.purchases to mana_ledger;
grant select (user_id, id, credits, status, created_at, completed_at) on credits.purchases to mana_auditor;
