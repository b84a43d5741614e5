-- Written by check_ledger alone. It repeats what the ledger says, so that a later check sees when the
-- ledger says something else.
alter table credits.ledger_checks enable row level security;
alter table credits.ledger_checks force row level security;

drop policy if exists "the auditor reads and writes every row" on credits.ledger_checks;
create policy "the auditor reads and writes every row" on credits.ledger_checks
    for all to mana_auditor
    using (true)
    with check (true);

revoke all on credits.ledger_checks from public;
grant select, insert on credits.ledger_checks to mana_auditor;
grant update (
    transaction_id, version, balance_after, free_after, total_spent_after, grant_window, checked_at
) on credits.ledger_checks to mana_auditor;
