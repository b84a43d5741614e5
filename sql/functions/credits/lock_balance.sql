-- Called by every function that moves credits, before it looks at anything else.
--
-- Locks the balance of the user of this transaction and pays the daily grant when one is due: at
-- most one in a 24-hour window since the account's creation, and none for windows that were
-- missed. Window 0 has the signup bonus. Returns the row as it was found, which is what a caller's
-- expected version speaks of, and as it is now.
--
-- Locks   the balance row; all that follows is serial for one user.
-- Raises  PT404 not_found          the user has no account
create or replace function credits.lock_balance(out found_version bigint, out balance credits.balances)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.uid();
    v_now     timestamptz;
    v_window  int;
    v_amount  bigint;
begin
    select * into balance from credits.balances where user_id = v_user_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = 'not_found', detail = 'This user has no credits account.';
    end if;
    found_version := balance.version;

    v_now := greatest(auth.clock(), balance.updated_at + interval '1 microsecond');
    v_window := credits.grant_window(balance.created_at, v_now);
    if v_window <= credits.grant_window(balance.created_at, balance.last_daily_reset_at) then
        return;
    end if;

    select daily_free_credits into strict v_amount from credits.settings;
    update credits.balances
       set last_daily_reset_at = created_at + v_window * interval '24 hours'
     where user_id = v_user_id;
    if v_amount > 0 then
        perform credits.post_movement(
            p_type => 'bonus', p_counter_account => 'daily_grants', p_free => v_amount, p_paid => 0,
            p_description => 'Daily credits', p_grant_window => v_window, p_at => v_now
        );
        perform auth.note_event('daily_grant', v_amount);
    end if;
    select * into strict balance from credits.balances where user_id = v_user_id;
end
$$;

alter function credits.lock_balance owner to mana_ledger;
revoke all on function credits.lock_balance from public;
grant execute on function credits.lock_balance to mana_ledger;
