alter table credits.purchases enable row level security;
alter table credits.purchases force row level security;

drop policy if exists "the ledger functions see the rows of the users they act for" on credits.purchases;
create policy "the ledger functions see the rows of the users they act for" on credits.purchases
    for all to mana_ledger
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on credits.purchases from public;
grant select on credits.purchases to mana_ledger;
