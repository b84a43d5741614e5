-- Views for people who read the books. They show no free text and no e-mail address, and
-- belong to mana_auditor, which may only read (policies/credits/).
set local lock_timeout = '1s';

set local role mana_owner;

-- The ledger line by line: what moved, from where to where, and why.
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

-- What each account holds, from the service's side: a system account is negative when it has
-- given credits out. The column adds up to zero.
create view credits.account_totals as
select leg.account,
       sum(leg.amount)::bigint as total,
       count(*) as entries
  from credits.ledger_entries as e
 cross join lateral (values (e.credit_account, e.amount), (e.debit_account, -e.amount)) as leg (account, amount)
 group by leg.account;

-- What was used, by user, app and day (UTC). A view, not a second set of books to keep true.
create view credits.usage_stats as
select t.user_id,
       t.app_id,
       (t.created_at at time zone 'UTC')::date as date,
       sum(-t.amount)::bigint as credits_used,
       count(*) as transactions
  from credits.transactions as t
 where t.type = 'usage'
 group by t.user_id, t.app_id, (t.created_at at time zone 'UTC')::date;

reset role;
