-- Called by credits.use_credits and api.use_credits.
--
-- Spends credits of many users of this transaction; one is a batch of one. Daily grants that are due
-- are paid first, and stay paid whatever becomes of the spend. Requests of one user follow each other
-- in the order of their places, those of several users go side by side. Returns for the place of each
-- request what _credits.spend returns. With p_wait, a user without an account is refused. Without
-- p_wait, a request that is missing from the result has to be made alone: its balance is locked, or
-- there is no account.
--
-- Locks    the balance rows of all users, as _credits.lock_balances does.
-- Raises   PT401 authentication_required  the transaction was not begun for one of them
-- Refuses  404 not_found                  the user has no account, then what _credits.spend refuses
create or replace function credits.spend_all(p_requests credits.spend_request[], p_wait boolean)
returns table (place int, code text, detail text, receipt credits.receipt)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_user_ids constant uuid[] := array(select r.user_id from unnest(p_requests) as r);
    v_lock     record;
    v_granted  uuid[];
    v_requests credits.spend_request[];
begin
    perform auth.require_users(v_user_ids);
    v_lock := _credits.lock_balances(v_user_ids, p_wait);
    v_granted := v_lock.granted;
    if cardinality(p_requests) = cardinality(v_lock.locked) then  -- one request each
        return query select * from _credits.spend(p_requests, v_lock.granted);
        return;
    end if;

    for v_requests in
        select array_agg(r.request)
          from (
              select r as request, row_number() over (partition by r.user_id order by r.place) as turn
                from unnest(p_requests) as r
               where r.user_id = any (v_lock.locked)
          ) as r
         group by r.turn
         order by r.turn
    loop
        return query select * from _credits.spend(v_requests, v_granted);
        v_granted := '{}';
    end loop;

    if p_wait then
        return query
        select r.place, 'not_found', 'This user has no credits account.', null::credits.receipt
          from unnest(p_requests) as r
         where r.user_id <> all (v_lock.locked);
    end if;
end
$$;

alter function credits.spend_all owner to mana_ledger;
revoke all on function credits.spend_all from public;
grant execute on function credits.spend_all to mana_api;
