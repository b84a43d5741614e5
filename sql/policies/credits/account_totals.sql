alter view credits.account_totals owner to mana_auditor;
revoke all on credits.account_totals from public;
grant select on credits.account_totals to mana_reader;
