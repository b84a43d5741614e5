-- Called by auth.register_user, for the user of this transaction.
--
-- Opens the account, born at p_created_at, and pays the signup bonus: at its birth, as the bonus is
-- that of window 0 even when the clock jumps meanwhile. Opening it again changes nothing.
--
-- Raises  PT401 authentication_required
create or replace function credits.open_account(p_created_at timestamptz)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_bonus   bigint;
begin
    insert into credits.balances (user_id, last_daily_reset_at, created_at, updated_at)
    values (v_user_id, p_created_at, p_created_at, p_created_at)
    on conflict (user_id) do nothing;
    if not found then
        return;
    end if;

    select signup_bonus into strict v_bonus from credits.settings;
    if v_bonus > 0 then
        perform _credits.post_movements(array[row(
            v_user_id, 'bonus', 'signup_grants', v_bonus, 0, 'Signup bonus', null, null, null, 0, p_created_at
        )::credits.movement]);
        perform base.note_event('signup_bonus', v_bonus);
    end if;
end
$$;

alter function credits.open_account owner to mana_ledger;
revoke all on function credits.open_account from public;
grant execute on function credits.open_account to mana_auth;
