-- Called by api.get_balance_batch.
--
-- The balances of many users, as credits.get_balance has them. Who is missing has to be asked about
-- alone: a daily grant is due, or there is no account.
create or replace function credits.get_balance_batch(p_user_ids uuid[])
returns table (user_id uuid, summary credits.balance_summary)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    select b.user_id, credits.balance_summary(b, s.daily_free_credits)
      from credits.balances as b
     cross join credits.settings as s
     where b.user_id = any (p_user_ids)
       and credits.grant_window(b.created_at, greatest(auth.clock(), b.updated_at))
       = credits.grant_window(b.created_at, b.last_daily_reset_at);
end
$$;

alter function credits.get_balance_batch owner to mana_ledger;
revoke all on function credits.get_balance_batch from public;
grant execute on function credits.get_balance_batch to mana_gateway;
