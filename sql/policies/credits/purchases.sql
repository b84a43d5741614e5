alter table credits.purchases enable row level security;
alter table credits.purchases force row level security;

drop policy if exists "the ledger functions see the rows of the user they act for" on credits.purchases;
create policy "the ledger functions see the rows of the user they act for" on credits.purchases
    for all to mana_ledger
    using (auth.acts_for(user_id) or auth.role() in ('service', 'admin'))
    with check (auth.acts_for(user_id) or auth.role() in ('service', 'admin'));

revoke all on credits.purchases from public;
grant select on credits.purchases to mana_ledger;
