-- Append-only: nobody has UPDATE, DELETE or TRUNCATE, not even the owner.
alter table credits.ledger_entries enable row level security;
alter table credits.ledger_entries force row level security;

drop policy if exists "the ledger functions see the rows of the users they act for" on credits.ledger_entries;
create policy "the ledger functions see the rows of the users they act for" on credits.ledger_entries
    for all to mana_ledger
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

drop policy if exists "the auditor reads every row" on credits.ledger_entries;
create policy "the auditor reads every row" on credits.ledger_entries
    for select to mana_auditor
    using (true);

revoke all on credits.ledger_entries from public;
revoke update, delete, truncate on credits.ledger_entries from mana_owner;
grant select, insert on credits.ledger_entries to mana_ledger;
grant select (
    user_id, transaction_id, entry_no, debit_account, credit_account, amount, xact_id
) on credits.ledger_entries to mana_auditor;
