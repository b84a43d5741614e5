-- Called by credits.verify_ledger and credits.check_ledger.
--
-- Returns one row for each discrepancy of the books, none when all is well: whose it is, which
-- transaction it is about when it is about one, its kind, and what was found. It needs no constraint
-- to have held: it is for the day when one has not, and so no comparison passes over a null.
--
-- Each row of the ledger is compared with the one before it of the same account, and the last one with
-- the balance. So each sum is proved by induction, and a check can begin at any row that was found
-- sound before. With p_new_only it reads the rows after the point in credits.ledger_checks (all rows
-- of an account without one), every balance and every user. It then finds neither what has happened
-- to older rows nor rows of users without a balance, nor a key that an older row has; without
-- p_new_only it does.
create or replace function _credits.find_discrepancies(p_new_only boolean)
returns table (user_id uuid, transaction_id uuid, problem text, detail text)
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- each value of p_new_only leaves one of the two ways to the rows
set jit = off  -- compiling this takes seconds, which only the largest books would give back
set enable_hashagg = off  -- what is grouped is joined in the same order, so it is sorted anyhow
as $$
#variable_conflict use_column
begin
    return query
    with account as not materialized (
        select b.*,
               coalesce(c.transaction_id, '00000000-0000-0000-0000-000000000000') as checked_id,
               c.version as checked_version, c.balance_after as checked_balance, c.free_after as checked_free,
               c.total_spent_after as checked_spent, c.grant_window as checked_window
          from credits.balances as b
          left join credits.ledger_checks as c on p_new_only and c.user_id = b.user_id
    ), movement as not materialized (
        select t.user_id, t.id, t.type, t.status, t.amount, t.balance_before, t.balance_after, t.free_after,
               t.total_spent_after, t.version, t.grant_window, t.app_id, t.idempotency_key,
               t.created_at, t.completed_at
          from credits.transactions as t
         where not p_new_only
        union all
        select t.*
          from account as a
         cross join lateral (
             select t.user_id, t.id, t.type, t.status, t.amount, t.balance_before, t.balance_after, t.free_after,
                    t.total_spent_after, t.version, t.grant_window, t.app_id, t.idempotency_key,
                    t.created_at, t.completed_at
               from credits.transactions as t
              where t.user_id = a.user_id and t.id > a.checked_id
             offset 0
         ) as t
         where p_new_only
    ), entry as not materialized (
        select e.user_id, e.transaction_id, e.entry_no, e.debit_account, e.credit_account, e.amount
          from credits.ledger_entries as e
         where not p_new_only
        union all
        select e.*
          from account as a
         cross join lateral (
             select e.user_id, e.transaction_id, e.entry_no, e.debit_account, e.credit_account, e.amount
               from credits.ledger_entries as e
              where e.user_id = a.user_id and e.transaction_id > a.checked_id
             offset 0
         ) as e
         where p_new_only
    ), leg as not materialized (
        select e.user_id, e.transaction_id, e.entry_no, e.amount, e.debit_account, e.credit_account,
               case when e.credit_account in ('free', 'paid') then e.credit_account else e.debit_account end as own,
               case when e.credit_account in ('free', 'paid') then e.debit_account else e.credit_account end as counter,
               case when e.credit_account in ('free', 'paid') then e.amount else -e.amount end as moved
          from entry as e
    ), booked as not materialized (
        select l.user_id, l.transaction_id,
               coalesce(sum(l.moved) filter (where l.own = 'free'), 0) as free,
               coalesce(sum(l.moved) filter (where l.own = 'paid'), 0) as paid,
               min(l.counter) as counter, max(l.counter) as other_counter
          from leg as l
         group by l.user_id, l.transaction_id
    ), step as not materialized (
        select t.*, a.created_at as opened_at, b.free, b.paid, b.counter, b.other_counter,
               lag(t.id) over older as id_before,
               lag(t.version, 1, coalesce(a.checked_version, 0)) over older as version_before,
               lag(t.balance_after, 1, coalesce(a.checked_balance, 0)) over older as balance_expected,
               lag(t.free_after, 1, coalesce(a.checked_free, 0)) over older as free_expected,
               lag(t.total_spent_after, 1, coalesce(a.checked_spent, 0)) over older as spent_expected
          from movement as t
          left join booked as b on b.user_id = t.user_id and b.transaction_id = t.id
          left join account as a on a.user_id = t.user_id
        window older as (partition by t.user_id order by t.id)
    ), judged as not materialized (
        select s.*, array_remove(array[
                   case when num_nulls(
                       s.user_id, s.id, s.type, s.status, s.amount, s.balance_before, s.balance_after, s.free_after,
                       s.total_spent_after, s.version, s.created_at, s.completed_at
                   ) > 0 then 'value_is_missing' end,
                   case when s.opened_at is null then 'transaction_without_balance' end,
                   case when s.counter is null then 'transaction_without_entries' end,
                   case when s.counter is not null and s.free + s.paid is distinct from s.amount
                       then 'entries_differ_from_amount' end,
                   case when s.counter is distinct from s.other_counter
                             or s.counter is not null and not coalesce(case s.type
                                 when 'usage' then s.counter = 'usage' and s.amount < 0 and s.app_id is not null
                                 when 'purchase' then s.counter = 'sales' and s.amount > 0
                                 when 'bonus'
                                     then s.counter = case when s.grant_window = 0 then 'signup_grants'
                                                           else 'daily_grants' end::credits.account
                                          and s.amount > 0 and s.paid = 0 and s.grant_window is not null
                                          and s.app_id is null and s.idempotency_key is null
                                 when 'refund' then s.counter = 'refunds' and s.free = 0
                                                    or s.counter = 'usage' and s.amount > 0 and s.app_id is not null
                                 when 'expiry' then s.counter = 'expiry' and s.amount < 0
                                 when 'adjustment' then s.counter = 'adjustments'
                             end, false)
                             or s.type <> 'bonus' and s.grant_window is not null
                       then 'type_differs_from_entries' end,
                   case when s.paid < 0 and s.type <> 'refund' and s.balance_after < s.free_after
                       then 'debt_without_reversal' end,
                   case when s.status <> 'completed' or s.completed_at is distinct from s.created_at
                       then 'status_differs_from_entries' end,
                   case when s.balance_after is distinct from s.balance_before + s.amount
                       then 'balance_after_is_not_the_sum' end,
                   case when s.balance_before is distinct from s.balance_expected
                             or s.version is distinct from s.version_before + 1
                       then 'chain_is_broken' end,
                   case when s.free_after is distinct from s.free_expected + coalesce(s.free, 0)
                             or s.total_spent_after is distinct from s.spent_expected - least(s.amount, 0)
                       then 'running_totals_are_not_the_sums' end,
                   case when not base.is_uuid_v7_of(s.id, s.created_at) then 'id_is_of_another_time' end,
                   case when s.id = s.id_before then 'transaction_twice' end,
                   case when s.grant_window <> credits.grant_window(s.opened_at, s.created_at)
                       then 'grant_outside_its_window' end
               ], null) as problems
          from step as s
    )
    select j.user_id, j.id, found.problem,
           case found.problem
               when 'value_is_missing' then 'a column that always has a value has none'
               when 'transaction_without_balance' then 'the user has no balance row'
               when 'entries_differ_from_amount' then format('amount %s; entries say %s', j.amount, j.free + j.paid)
               when 'type_differs_from_entries'
                   then format('%s of %s with %s%s%s', j.type, j.amount, j.counter,
                               case when j.counter <> j.other_counter then ' and ' || j.other_counter end,
                               ', window ' || j.grant_window)
               when 'status_differs_from_entries'
                   then format('%s, created %s, completed %s', j.status, j.created_at, j.completed_at)
               when 'balance_after_is_not_the_sum'
                   then format('%s and %s make %s', j.balance_before, j.amount, j.balance_after)
               when 'chain_is_broken'
                   then format('starts at %s, version %s; the one before ended at %s, version %s',
                               j.balance_before, j.version, j.balance_expected, j.version_before)
               when 'running_totals_are_not_the_sums'
                   then format('free %s, spent %s; the one before had free %s, spent %s, and the entries say free %s',
                               j.free_after, j.total_spent_after, j.free_expected, j.spent_expected,
                               coalesce(j.free, 0))
               when 'id_is_of_another_time' then format('created %s', j.created_at)
               when 'transaction_twice' then 'two rows have one id'
               when 'grant_outside_its_window' then format('window %s, created %s', j.grant_window, j.created_at)
               else format('amount %s', j.amount)
           end
      from judged as j
     cross join lateral unnest(j.problems) as found (problem)
     where j.problems <> '{}'

    union all
    select g.user_id, g.id, 'grant_twice_in_a_window',
           format('window %s; the grant before it is for window %s', g.grant_window, g.last_window)
      from (
          select t.user_id, t.id, t.grant_window,
                 lag(t.grant_window, 1, a.checked_window) over (partition by t.user_id order by t.id) as last_window
            from movement as t
            left join account as a on a.user_id = t.user_id
           where t.grant_window is not null
      ) as g
     where g.grant_window <= g.last_window
    union all
    select l.user_id, l.transaction_id, 'entry_is_not_valid',
           format('entry %s: %s from %s to %s', l.entry_no, l.amount, l.debit_account, l.credit_account)
      from leg as l
     where num_nulls(l.user_id, l.transaction_id, l.entry_no, l.amount, l.debit_account, l.credit_account) > 0
        or l.amount <= 0
        or (l.debit_account in ('free', 'paid')) = (l.credit_account in ('free', 'paid'))
        or l.entry_no <> case l.own when 'free' then 1 else 2 end
    union all
    select l.user_id, l.transaction_id, 'entry_without_transaction',
           coalesce((
               select format('the transaction is user %s''s', t.user_id)
                 from credits.transactions as t
                where t.id = l.transaction_id
                limit 1
           ), 'there is no such transaction')
      from leg as l
     where not exists (
         select from credits.transactions as t where t.user_id = l.user_id and t.id = l.transaction_id
     )
    union all
    select t.user_id, t.id, 'cause_is_missing', format('%s of %s', t.type, t.amount)
      from movement as t
     where t.type in ('purchase', 'refund')
       and not exists (select from credits.causes as c where c.user_id = t.user_id and c.transaction_id = t.id)
    union all
    select t.user_id, t.id, 'reversal_without_spend', format('refund of %s in app %s', t.amount, t.app_id)
      from movement as t
     where t.type = 'refund'
       and exists (
           select from credits.ledger_entries as e
            where e.user_id = t.user_id and e.transaction_id = t.id and 'usage' in (e.debit_account, e.credit_account)
       )
       and not exists (
           select
             from credits.causes as c
             join credits.transactions as spend on spend.user_id = c.user_id and spend.id = c.reverses
            where c.user_id = t.user_id and c.transaction_id = t.id
              and spend.type = 'usage' and spend.app_id = t.app_id and spend.id < t.id
       )
    union all
    select reversed.user_id, reversed.id, 'reversals_exceed_spend',
           format('of the spend, free %s and paid %s are left', rest.free, rest.paid)
      from (
          select distinct c.user_id, c.reverses as id
            from movement as t
            join credits.causes as c on c.user_id = t.user_id and c.transaction_id = t.id
           where t.type = 'refund' and c.reverses is not null
      ) as reversed
     cross join lateral (
         select coalesce(sum(l.signed) filter (where l.own = 'free'), 0) as free,
                coalesce(sum(l.signed) filter (where l.own = 'paid'), 0) as paid
           from (
               select case when e.credit_account = 'usage' then e.debit_account else e.credit_account end as own,
                      case when e.credit_account = 'usage' then e.amount else -e.amount end as signed
                 from credits.ledger_entries as e
                where e.user_id = reversed.user_id
                  and e.transaction_id = any (array(
                      select reversed.id
                       union all
                      select c.transaction_id
                        from credits.causes as c
                       where c.user_id = reversed.user_id and c.reverses = reversed.id
                  ))
                  and 'usage' in (e.debit_account, e.credit_account)
           ) as l
     ) as rest
     where rest.free < 0 or rest.paid < 0
    union all
    select p.user_id, booked.transaction_id, 'purchase_differs_from_ledger',
           format('%s of %s credits; booked %s, reversed %s of %s',
                  p.status, p.credits, booked.amount, booked.reversed, owed.credits)
      from credits.purchases as p
      left join payments.orders as o on o.user_id = p.user_id and o.purchase_id = p.id
      left join lateral (
          select t.id as transaction_id, t.amount, coalesce(-sum(r.amount), 0) as reversed
            from credits.causes as c
            join credits.transactions as t on t.user_id = c.user_id and t.id = c.transaction_id
            left join credits.causes as back on back.user_id = c.user_id and back.reverses = c.transaction_id
            left join credits.transactions as r on r.user_id = back.user_id and r.id = back.transaction_id
           where c.user_id = p.user_id and c.cause = 'purchase:' || p.id
           group by t.id, t.amount
      ) as booked on true
     cross join lateral (
         select payments.reversed_credits(p.credits, o.paid, o.refunded + o.disputed) as credits
     ) as owed
     where not p_new_only
       and (booked.amount is distinct from case when p.completed_at is not null then p.credits end
            or (p.status in ('completed', 'refunded')) <> (p.completed_at is not null)
            or p.completed_at is not null
               and (booked.reversed is distinct from owed.credits
                    or (p.status = 'refunded') <> (booked.reversed = p.credits)))
    union all
    select t.user_id, null, 'idempotency_key_twice', format('%s transactions of one app have one key', count(*))
      from movement as t
     where t.idempotency_key is not null
     group by t.user_id, t.app_id, t.idempotency_key
    having count(*) > 1

    union all
    select coalesce(a.user_id, u.id), null,
           case when u.id is null then 'account_without_user' else 'user_without_account' end,
           case when u.id is null then 'there is no such user' else 'the user has no balance row' end
      from credits.balances as a
      full join auth.users as u on u.id = a.user_id
     where a.user_id is null or u.id is null
    union all
    select a.user_id, null, 'account_twice', format('%s balance rows', count(*))
      from credits.balances as a
     group by a.user_id
    having count(*) > 1
    union all
    select a.user_id, null, found.problem,
           case found.problem
               when 'value_is_missing' then 'a column that always has a value has none'
               when 'negative_balance' then format('free %s, held %s', a.free_credits_remaining, a.held)
               when 'balance_differs_from_ledger'
                   then format('free %s, paid %s, changed %s; the last transaction says free %s, paid %s, %s',
                               a.free_credits_remaining, a.balance, a.updated_at,
                               last.free, last.paid, last.created_at)
               when 'totals_differ_from_transactions'
                   then format('earned %s, spent %s, version %s; the last transaction says %s, %s, %s',
                               a.total_earned, a.total_spent, a.version, last.earned, last.spent, last.version)
               else format('last reset %s; the account is of %s and its last grant of window %s',
                           a.last_daily_reset_at, a.created_at, last.grant_window)
           end
      from account as a
      left join lateral (
          select t.free_after, t.balance_after - t.free_after as paid_after, t.total_spent_after,
                 t.balance_after + t.total_spent_after as earned_after, t.version, t.created_at
            from credits.transactions as t
           where t.user_id = a.user_id
           order by t.id desc
           limit 1
      ) as t on true
      left join lateral (
          select g.grant_window
            from credits.transactions as g
           where g.user_id = a.user_id and g.grant_window is not null
           order by g.grant_window desc
           limit 1
      ) as g on true
     cross join lateral (
         select coalesce(t.free_after, 0) as free, coalesce(t.paid_after, 0) as paid,
                coalesce(t.earned_after, 0) as earned, coalesce(t.total_spent_after, 0) as spent,
                coalesce(t.version, 0) as version, coalesce(t.created_at, a.created_at) as created_at,
                coalesce(g.grant_window, 0) as grant_window,
                credits.grant_window(a.created_at, a.last_daily_reset_at) as reset_window
     ) as last
     cross join lateral unnest(array[
         case when num_nulls(
             a.user_id, a.balance, a.free_credits_remaining, a.held, a.total_earned, a.total_spent, a.version,
             a.last_daily_reset_at, a.created_at, a.updated_at
         ) > 0 then 'value_is_missing' end,
         case when a.free_credits_remaining < 0 or a.held < 0 then 'negative_balance' end,
         case when (a.free_credits_remaining, a.balance, a.updated_at)
                   is distinct from (last.free, last.paid, last.created_at)
             then 'balance_differs_from_ledger' end,
         case when (a.total_earned, a.total_spent, a.version)
                   is distinct from (last.earned, last.spent, last.version)
             then 'totals_differ_from_transactions' end,
         -- A reset without a grant is one of a time when the amount was 0.
         case when a.last_daily_reset_at
                   is distinct from a.created_at + last.reset_window * interval '24 hours'
                   or last.reset_window < last.grant_window
                   or last.reset_window > last.grant_window
                      and (last.reset_window > credits.grant_window(
                              a.created_at, _credits.next_moment(a.updated_at, base.clock())
                          )
                          or exists (
                              select from credits.settings as s
                               where s.daily_free_credits > 0 and s.updated_at < a.last_daily_reset_at
                          ))
             then 'daily_reset_differs_from_grants' end
     ]) as found (problem)
     where found.problem is not null

    union all
    select c.user_id, c.transaction_id, 'differs_from_last_sound_check',
           format('version %s, balance %s, free %s, spent %s; on %s it was version %s, balance %s, free %s, spent %s',
                  t.version, t.balance_after, t.free_after, t.total_spent_after,
                  c.checked_at, c.version, c.balance_after, c.free_after, c.total_spent_after)
      from credits.ledger_checks as c
      left join credits.balances as b on b.user_id = c.user_id
      left join credits.transactions as t on t.user_id = c.user_id and t.id = c.transaction_id
     where b.user_id is null
        or (t.version, t.balance_after, t.free_after, t.total_spent_after)
           is distinct from (c.version, c.balance_after, c.free_after, c.total_spent_after);
end
$$;

alter function _credits.find_discrepancies owner to mana_auditor;
revoke all on function _credits.find_discrepancies from public;
