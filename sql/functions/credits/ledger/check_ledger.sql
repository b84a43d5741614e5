-- Called by administrators (mana maintain).
--
-- Checks the books and remembers up to where each account was sound. With p_full it checks what
-- credits.verify_ledger does. Without, it reads what is new since the last check: that proves the new
-- rows, and every balance against them, on the ground that the rows before are still what they were.
-- An account with a discrepancy keeps its point, so that each later check finds it again.
--
-- Locks   the rows of credits.ledger_checks that it moves; nothing that a spend waits for.
create or replace function credits.check_ledger(p_full boolean)
returns table (user_id uuid, transaction_id uuid, problem text, detail text)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with found as materialized (
        select * from _credits.find_discrepancies(p_new_only => not coalesce(p_full, true))
    ), moved as (
        insert into credits.ledger_checks (
            user_id, transaction_id, version, balance_after, free_after, total_spent_after, grant_window, checked_at
        )
        select b.user_id, last.id, last.version, last.balance_after, last.free_after, last.total_spent_after,
               credits.grant_window(b.created_at, b.last_daily_reset_at), base.clock()
          from credits.balances as b
          left join credits.ledger_checks as c on c.user_id = b.user_id
         cross join lateral (
             select t.id, t.version, t.balance_after, t.free_after, t.total_spent_after
               from credits.transactions as t
              where t.user_id = b.user_id
              order by t.id desc
              limit 1
         ) as last
         where b.version is distinct from c.version
           and not exists (select from found where found.user_id = b.user_id)
         order by b.user_id
        on conflict (user_id) do update
           set transaction_id = excluded.transaction_id,
               version = excluded.version,
               balance_after = excluded.balance_after,
               free_after = excluded.free_after,
               total_spent_after = excluded.total_spent_after,
               grant_window = excluded.grant_window,
               checked_at = excluded.checked_at
         where excluded.version > ledger_checks.version
    )
    select * from found;
end
$$;

alter function credits.check_ledger owner to mana_auditor;
revoke all on function credits.check_ledger from public;
