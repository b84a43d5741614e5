alter table credits.causes enable row level security;
alter table credits.causes force row level security;

drop policy if exists "the ledger functions see the rows of the users they act for" on credits.causes;
create policy "the ledger functions see the rows of the users they act for" on credits.causes
    for all to mana_ledger
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

drop policy if exists "the auditor reads every row" on credits.causes;
create policy "the auditor reads every row" on credits.causes
    for select to mana_auditor
    using (true);

revoke all on credits.causes from public;
grant select, insert on credits.causes to mana_ledger;
grant select (user_id, cause, transaction_id, reverses) on credits.causes to mana_auditor;
