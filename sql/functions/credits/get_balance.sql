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
    v_window  int;
    v_summary credits.balance_summary;
begin
    select * into v_balance from credits.balances where user_id = v_user_id;
    v_window := credits.grant_window(v_balance.created_at, greatest(auth.clock(), v_balance.updated_at));
    if v_window is distinct from credits.grant_window(v_balance.created_at, v_balance.last_daily_reset_at)
       or v_window is null then
        select (locked.balance).* into v_balance from credits.lock_balance() as locked;
        v_window := credits.grant_window(v_balance.created_at, v_balance.last_daily_reset_at);
    end if;

    select v_balance.balance, v_balance.free_credits_remaining, v_balance.total_earned, v_balance.total_spent,
           s.daily_free_credits, v_balance.created_at + (v_window + 1) * interval '24 hours', v_balance.version
      into v_summary
      from credits.settings as s;
    return v_summary;
end
$$;

alter function credits.get_balance owner to mana_ledger;
revoke all on function credits.get_balance from public;
grant execute on function credits.get_balance to mana_gateway, mana_backend;
