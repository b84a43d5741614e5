alter table credits.balances enable row level security;
alter table credits.balances force row level security;

drop policy if exists "the ledger functions see the rows of the users they act for" on credits.balances;
create policy "the ledger functions see the rows of the users they act for" on credits.balances
    for all to mana_ledger
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

drop policy if exists "the auditor reads every row" on credits.balances;
create policy "the auditor reads every row" on credits.balances
    for select to mana_auditor
    using (true);

revoke all on credits.balances from public;
grant select, insert on credits.balances to mana_ledger;
grant update (
    balance, free_credits_remaining, held, total_earned, total_spent, version, last_daily_reset_at, updated_at
) on credits.balances to mana_ledger;
grant select (
    user_id, balance, free_credits_remaining, held, total_earned, total_spent, version,
    last_daily_reset_at, created_at, updated_at
) on credits.balances to mana_auditor;
