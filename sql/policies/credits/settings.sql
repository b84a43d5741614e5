-- Holds nothing of a user.
alter table credits.settings enable row level security;
alter table credits.settings force row level security;

drop policy if exists "the ledger functions see every row" on credits.settings;
create policy "the ledger functions see every row" on credits.settings
    for all to mana_ledger
    using (true)
    with check (true);

drop policy if exists "the auditor sees the amount of the daily grant" on credits.settings;
create policy "the auditor sees the amount of the daily grant" on credits.settings
    for select to mana_auditor
    using (true);

revoke all on credits.settings from public;
grant select on credits.settings to mana_ledger;
grant update (signup_bonus, daily_free_credits, updated_at) on credits.settings to mana_ledger;
grant select (daily_free_credits, updated_at) on credits.settings to mana_auditor;
