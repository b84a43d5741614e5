-- Append-only: nobody is granted UPDATE, DELETE or TRUNCATE, and the owner has only the UPDATE that
-- foreign keys lock with; to it, forced row-level security shows no row. The auditor sees neither
-- descriptions nor metadata.
alter table credits.transactions enable row level security;
alter table credits.transactions force row level security;

drop policy if exists "the ledger functions see the rows of the users they act for" on credits.transactions;
create policy "the ledger functions see the rows of the users they act for" on credits.transactions
    for all to mana_ledger
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

drop policy if exists "the auditor reads every row" on credits.transactions;
create policy "the auditor reads every row" on credits.transactions
    for select to mana_auditor
    using (true);

revoke all on credits.transactions from public;
revoke delete, truncate on credits.transactions from mana_owner;
grant select, insert on credits.transactions to mana_ledger;
grant select (
    user_id, id, type, status, amount, balance_before, balance_after, free_after, total_spent_after,
    version, grant_window, app_id, idempotency_key, created_at, completed_at
) on credits.transactions to mana_auditor;
