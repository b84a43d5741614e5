-- Holds nothing of a user.
alter table credits.packages enable row level security;
alter table credits.packages force row level security;

drop policy if exists "the ledger functions see every row" on credits.packages;
create policy "the ledger functions see every row" on credits.packages
    for all to mana_ledger
    using (true)
    with check (true);

revoke all on credits.packages from public;
grant select, insert on credits.packages to mana_ledger;
grant update (price_euro_cents, stripe_price_id, active, updated_at) on credits.packages to mana_ledger;
