-- Called by administrators, by mana ledger verify and by members of mana_reader.
--
-- Checks the books against themselves and returns one row for each discrepancy, none when all is
-- well: whose it is, which transaction it is about when it is about one, its kind, and what was
-- found. It needs no constraint to have held: it is for the day when one has not.
create or replace function credits.verify_ledger()
returns table (user_id uuid, transaction_id uuid, problem text, detail text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    with leg as (
        select e.user_id, e.transaction_id, side.account, side.amount
          from credits.ledger_entries as e
         cross join lateral (values (e.credit_account, e.amount), (e.debit_account, -e.amount)) as side (account, amount)
         where side.account in ('free', 'paid')
    ), fold as (
        select leg.user_id,
               coalesce(sum(leg.amount) filter (where leg.account = 'free'), 0) as free,
               coalesce(sum(leg.amount) filter (where leg.account = 'paid'), 0) as paid
          from leg
         group by leg.user_id
    ), booked as (
        select leg.user_id, leg.transaction_id, sum(leg.amount) as amount
          from leg
         group by leg.user_id, leg.transaction_id
    ), total as (
        select t.user_id,
               sum(greatest(t.amount, 0)) as earned,
               sum(-least(t.amount, 0)) as spent,
               max(t.version) as version
          from credits.transactions as t
         group by t.user_id
    ), chain as (
        select t.user_id, t.id, t.amount, t.balance_before, t.version, t.grant_window, t.created_at,
               b.created_at as opened_at,
               lag(t.balance_after, 1, 0::bigint) over newer as balance_expected,
               lag(t.version, 1, 0::bigint) over newer as version_before
          from credits.transactions as t
          left join credits.balances as b on b.user_id = t.user_id
        window newer as (partition by t.user_id order by t.id)
    ), running as (
        select t.user_id, t.id, t.free_after, t.total_spent_after,
               sum(coalesce(free.amount, 0)) over upto as free_expected,
               sum(-least(t.amount, 0)) over upto as spent_expected
          from credits.transactions as t
          left join (
              select leg.user_id, leg.transaction_id, sum(leg.amount) as amount
                from leg
               where leg.account = 'free'
               group by leg.user_id, leg.transaction_id
          ) as free on free.user_id = t.user_id and free.transaction_id = t.id
        window upto as (partition by t.user_id order by t.id)
    )
    select b.user_id, null::uuid, 'balance_differs_from_ledger',
           format('free %s, paid %s; entries say free %s, paid %s',
                  b.free_credits_remaining, b.balance, coalesce(f.free, 0), coalesce(f.paid, 0))
      from credits.balances as b
      left join fold as f on f.user_id = b.user_id
     where (b.free_credits_remaining, b.balance) is distinct from (coalesce(f.free, 0), coalesce(f.paid, 0))
    union all
    select b.user_id, null, 'totals_differ_from_transactions',
           format('earned %s, spent %s, version %s; transactions say %s, %s, %s',
                  b.total_earned, b.total_spent, b.version,
                  coalesce(t.earned, 0), coalesce(t.spent, 0), coalesce(t.version, 0))
      from credits.balances as b
      left join total as t on t.user_id = b.user_id
     where (b.total_earned, b.total_spent, b.version)
           is distinct from (coalesce(t.earned, 0), coalesce(t.spent, 0), coalesce(t.version, 0))
    union all
    select b.user_id, null, 'negative_balance',
           format('free %s, paid %s', b.free_credits_remaining, b.balance)
      from credits.balances as b
     where b.balance < 0 or b.free_credits_remaining < 0
    union all
    select t.user_id, t.id, 'transaction_without_balance', 'the user has no balance row'
      from chain as t
     where t.opened_at is null
    union all
    select t.user_id, t.id, 'transaction_without_entries', format('amount %s', t.amount)
      from credits.transactions as t
     where not exists (
         select from credits.ledger_entries as e where e.user_id = t.user_id and e.transaction_id = t.id
     )
    union all
    select t.user_id, t.id, 'entries_differ_from_amount', format('amount %s; entries say %s', t.amount, b.amount)
      from credits.transactions as t
      join booked as b on b.user_id = t.user_id and b.transaction_id = t.id
     where b.amount <> t.amount
    union all
    select e.user_id, e.transaction_id, 'entry_moves_nothing_of_the_user',
           format('%s from %s to %s', e.amount, e.debit_account, e.credit_account)
      from credits.ledger_entries as e
     where e.amount <= 0 or (e.debit_account in ('free', 'paid')) = (e.credit_account in ('free', 'paid'))
    union all
    select t.user_id, t.id, 'running_totals_are_not_the_sums',
           format('free %s, spent %s; up to here the entries say %s and the transactions %s',
                  t.free_after, t.total_spent_after, t.free_expected, t.spent_expected)
      from running as t
     where (t.free_after, t.total_spent_after) is distinct from (t.free_expected, t.spent_expected)
    union all
    select e.user_id, e.transaction_id, 'entry_without_transaction',
           coalesce((
               select format('the transaction is user %s''s', t.user_id)
                 from credits.transactions as t
                where t.id = e.transaction_id
                limit 1
           ), 'there is no such transaction')
      from credits.ledger_entries as e
     where not exists (
         select from credits.transactions as t where t.user_id = e.user_id and t.id = e.transaction_id
     )
    union all
    select t.user_id, t.id, 'balance_after_is_not_the_sum',
           format('%s and %s make %s', t.balance_before, t.amount, t.balance_after)
      from credits.transactions as t
     where t.balance_after <> t.balance_before + t.amount
    union all
    select t.user_id, t.id, 'chain_is_broken',
           format('starts at %s, version %s; the one before ended at %s, version %s',
                  t.balance_before, t.version, t.balance_expected, t.version_before)
      from chain as t
     where t.balance_before <> t.balance_expected or t.version <> t.version_before + 1
    union all
    select t.user_id, null, 'idempotency_key_twice', format('%s transactions have one key', count(*))
      from credits.transactions as t
     where t.idempotency_key is not null
     group by t.user_id, t.idempotency_key
    having count(*) > 1
    union all
    select t.user_id, null, 'grant_twice_in_a_window', format('%s grants in window %s', count(*), t.grant_window)
      from credits.transactions as t
     where t.grant_window is not null
     group by t.user_id, t.grant_window
    having count(*) > 1
    union all
    select t.user_id, t.id, 'grant_outside_its_window', format('window %s, created %s', t.grant_window, t.created_at)
      from chain as t
     where t.grant_window <> credits.grant_window(t.opened_at, t.created_at)
$$;

alter function credits.verify_ledger owner to mana_auditor;
revoke all on function credits.verify_ledger from public;
grant execute on function credits.verify_ledger to mana_reader;
