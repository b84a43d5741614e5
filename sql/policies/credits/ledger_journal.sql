-- A view reads with its owner's rights: here those of the auditor.
alter view credits.ledger_journal owner to mana_auditor;
revoke all on credits.ledger_journal from public;
grant select on credits.ledger_journal to mana_reader;
