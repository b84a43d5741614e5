set local lock_timeout = '1s';

drop table credits.ledger_checks;

drop view credits.ledger_journal;

alter table credits.ledger_entries drop column xact_id;

set local role mana_owner;

create view credits.ledger_journal as
select t.created_at,
       e.user_id,
       e.transaction_id,
       t.type,
       t.app_id,
       e.debit_account,
       e.credit_account,
       e.amount,
       t.balance_after
  from credits.ledger_entries as e
  join credits.transactions as t on t.user_id = e.user_id and t.id = e.transaction_id;

reset role;
