set local lock_timeout = '1s';

drop type credits.balance_summary, credits.receipt;

drop table
    credits.purchases, credits.packages, credits.ledger_entries, credits.transactions,
    credits.balances, credits.settings;

drop type
    credits.account, credits.purchase_status, credits.transaction_status, credits.transaction_type;
