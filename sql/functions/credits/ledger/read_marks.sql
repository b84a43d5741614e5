-- Called by administrators (mana maintain, mana backup, mana ledger verify).
--
-- Figures that only grow while the books lose no row: how many users, accounts and movements there are,
-- all that was ever earned and spent, and the newest movement; and whether a movement that was the
-- newest once is still there. `mana` keeps them outside the database and compares. That the movements,
-- which the versions of the balances count, are there one by one is what credits.verify_ledger checks.
create or replace function credits.read_marks(p_user_id uuid default null, p_transaction_id uuid default null)
returns table (
    users numeric, accounts numeric, movements numeric, earned numeric, spent numeric,
    user_id uuid, transaction_id uuid, is_there boolean
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    with newest as (
        select t.user_id, t.id
          from (select b.user_id from credits.balances as b order by b.updated_at desc limit 1) as latest
          join credits.transactions as t on t.user_id = latest.user_id
         order by t.id desc
         limit 1
    )
    select (select count(u.id) from auth.users as u),
           count(b.user_id), coalesce(sum(b.version), 0), coalesce(sum(b.total_earned), 0),
           coalesce(sum(b.total_spent), 0), (select n.user_id from newest as n), (select n.id from newest as n),
           p_transaction_id is null
           or exists (select from credits.transactions as t where t.user_id = p_user_id and t.id = p_transaction_id)
      from credits.balances as b
$$;

alter function credits.read_marks owner to mana_auditor;
revoke all on function credits.read_marks from public;
