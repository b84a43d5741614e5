set local lock_timeout = '1s';

drop view credits.usage_stats, credits.account_totals, credits.ledger_journal;
