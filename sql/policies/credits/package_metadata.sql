-- Holds nothing of a user.
alter table credits.package_metadata enable row level security;
alter table credits.package_metadata force row level security;

drop policy if exists "the ledger functions read every row" on credits.package_metadata;
create policy "the ledger functions read every row" on credits.package_metadata
    for select to mana_ledger
    using (true);

revoke all on credits.package_metadata from public;
grant select on credits.package_metadata to mana_ledger;
