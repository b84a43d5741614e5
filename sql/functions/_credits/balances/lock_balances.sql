-- Called by credits.get_balances and credits.spend_all; by every function that moves credits, before
-- it looks at anything else.
--
-- Locks the balances of these users and pays the daily grants that are due: at most one in a 24-hour
-- window since the account's creation. Returns whose balances are locked now, and which of these
-- users have been granted something by this very call, which raised their version by one.
--
-- Locks   the balance rows in the order of user_id; waits for those that others hold with p_wait,
--         passes over them without. All that follows is serial for each user.
create or replace function _credits.lock_balances(
    p_user_ids uuid[],
    p_wait     boolean,
    out locked  uuid[],
    out granted uuid[]
)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_now      timestamptz;
    v_daily    bigint;
    v_balances credits.balances[];
    v_balance  credits.balances;
    v_window   int;
begin
    locked := '{}';
    granted := '{}';
    if p_wait then
        v_balances := array(
            select b from credits.balances as b
             where b.user_id = any (p_user_ids) order by b.user_id for no key update
        );
    else
        v_balances := array(
            select b from credits.balances as b
             where b.user_id = any (p_user_ids) order by b.user_id for no key update skip locked
        );
    end if;

    v_now := base.clock();
    foreach v_balance in array v_balances loop
        locked := locked || v_balance.user_id;
        v_window := _credits.due_window(v_balance, v_now);
        continue when v_window is null;

        update credits.balances
           set last_daily_reset_at = created_at + v_window * interval '24 hours'
         where user_id = v_balance.user_id;
        select daily_free_credits into strict v_daily from credits.settings;
        continue when v_daily = 0;

        perform _credits.post_movements(array[row(
            v_balance.user_id, 'bonus', 'daily_grants', v_daily, 0, 'Daily credits', null, null, null, v_window, v_now
        )::credits.movement]);
        perform base.note_event('daily_grant', v_daily);
        granted := granted || v_balance.user_id;
    end loop;
end
$$;

alter function _credits.lock_balances owner to mana_ledger;
revoke all on function _credits.lock_balances from public;
grant execute on function _credits.lock_balances to mana_ledger;
