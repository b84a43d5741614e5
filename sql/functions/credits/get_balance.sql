-- Called by api.get_balance and by trusted backends.
--
-- The balance of the user of this transaction. A daily grant that is due is paid first.
--
-- Locks   the user's balance row when a grant is due, nothing otherwise.
-- Raises  PT401 authentication_required
--         PT404 not_found              the user has no account
create or replace function credits.get_balance()
returns credits.balance_summary
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := credits.require_user();
    v_balance credits.balances;
    v_daily   bigint;
begin
    select * into v_balance from credits.balances where user_id = v_user_id;
    if not found
       or credits.grant_window(v_balance.created_at, greatest(auth.clock(), v_balance.updated_at))
       <> credits.grant_window(v_balance.created_at, v_balance.last_daily_reset_at) then
        select (locked.balance).* into v_balance from credits.lock_balance() as locked;
    end if;

    select daily_free_credits into strict v_daily from credits.settings;
    return credits.balance_summary(v_balance, v_daily);
end
$$;

alter function credits.get_balance owner to mana_ledger;
revoke all on function credits.get_balance from public;
grant execute on function credits.get_balance to mana_gateway, mana_backend;
