-- Holds nothing of a user.
alter table credits.backend_apps enable row level security;
alter table credits.backend_apps force row level security;

drop policy if exists "the ledger functions see every row" on credits.backend_apps;
create policy "the ledger functions see every row" on credits.backend_apps
    for all to mana_ledger
    using (true)
    with check (true);

revoke all on credits.backend_apps from public;
grant select, insert, delete on credits.backend_apps to mana_ledger;
