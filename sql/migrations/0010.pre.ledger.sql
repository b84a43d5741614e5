-- What the books are checked and followed by: up to where each account was last found sound, and
-- which database transaction wrote each movement.
set local lock_timeout = '1s';

-- Followers read in the order of this number and miss no late commit (sql/README.md). Older rows
-- have none: with a default from the start, every row would be written again. A bigint, because
-- xid8 has no BRIN operator class. Not in credits.transactions: functions return its rows, and the
-- plans of those who call them would not fit until the functions are written again.
alter table credits.ledger_entries add column xact_id bigint;
alter table credits.ledger_entries alter column xact_id set default pg_current_xact_id()::text::bigint;

-- Rows come in this order, so a summary of each range of pages is index enough, and a spend hardly writes to
-- it. Building it keeps spends waiting, a second for a gigabyte or more: of a large table, an administrator
-- builds it concurrently.
do $$
begin
    if pg_relation_size('credits.ledger_entries') < 256 * 1024 * 1024 then
        create index ledger_entries_by_xact_id on credits.ledger_entries
            using brin (xact_id) with (pages_per_range = 32, autosummarize = on);
    end if;
end
$$;

create or replace view credits.ledger_journal as
select t.created_at,
       e.user_id,
       e.transaction_id,
       t.type,
       t.app_id,
       e.debit_account,
       e.credit_account,
       e.amount,
       t.balance_after,
       e.xact_id
  from credits.ledger_entries as e
  join credits.transactions as t on t.user_id = e.user_id and t.id = e.transaction_id;

set local role mana_owner;

-- The last transaction of each account when it was last found sound, and what that says. No foreign
-- key: a row that is gone is what this is to show.
create table credits.ledger_checks (
    user_id           uuid primary key,
    transaction_id    uuid not null,
    version           bigint not null,
    balance_after     bigint not null,
    free_after        bigint not null,
    total_spent_after bigint not null,
    grant_window      int,
    checked_at        timestamptz not null
) with (fillfactor = 80);

reset role;
