-- Holds nothing of a user.
alter table credits.package_metadata enable row level security;
alter table credits.package_metadata force row level security;

drop policy if exists "the ledger functions see every row" on credits.package_metadata;
create policy "the ledger functions see every row" on credits.package_metadata
    for all to mana_ledger
    using (true)
    with check (true);

revoke all on credits.package_metadata from public;
grant select, insert on credits.package_metadata to mana_ledger;
