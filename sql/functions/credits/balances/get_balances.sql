-- Called by credits.get_balance and api.get_balance.
--
-- The balances of many users of this transaction; one is a batch of one. Daily grants that are due are
-- paid first. A read-only transaction pays nothing and shows the balance as it is: next_daily_credits_at
-- is past then. With p_wait, a user without an account is refused. Without p_wait, a user who is missing
-- from the result has to be asked for alone: a grant is due to a balance that is locked, or there is no
-- account.
--
-- Locks    the balance rows of those to whom a grant is due, as _credits.lock_balances does.
-- Raises   PT401 authentication_required  the transaction was not begun for one of them
-- Refuses  404 not_found                  the user has no account
create or replace function credits.get_balances(p_user_ids uuid[], p_wait boolean)
returns table (user_id uuid, code text, detail text, summary credits.balance_state)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := base.clock();
    v_due   uuid[];
    v_paid  uuid[] := '{}';  -- or as good as paid
    v_found bigint;
begin
    perform auth.require_users(p_user_ids);
    v_due := array(
        select b.user_id
          from credits.balances as b
         where b.user_id = any (p_user_ids) and _credits.due_window(b, v_now) is not null
    );
    if current_setting('transaction_read_only') = 'on' then
        v_paid := v_due;
    elsif v_due <> '{}' then
        v_paid := (_credits.lock_balances(v_due, p_wait)).locked;
    end if;

    return query
    select b.user_id, null::text, null::text, _credits.balance_summary(b, s.daily_free_credits)
      from credits.balances as b
     cross join credits.settings as s
     where b.user_id = any (p_user_ids) and (_credits.due_window(b, v_now) is null or b.user_id = any (v_paid));
    get diagnostics v_found = row_count;
    if p_wait and v_found < cardinality(p_user_ids) then
        return query
        select distinct u.user_id, 'not_found', 'This user has no credits account.', null::credits.balance_state
          from unnest(p_user_ids) as u (user_id)
         where not exists (select from credits.balances as b where b.user_id = u.user_id);
    end if;
end
$$;

alter function credits.get_balances owner to mana_ledger;
revoke all on function credits.get_balances from public;
grant execute on function credits.get_balances to mana_api;
