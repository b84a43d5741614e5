-- Called by trusted backends, and by gateways of release 0.1 while they are being replaced.
--
-- The balance of the user of this transaction, as credits.get_balances has it, in a read-only
-- transaction as well. What is held is part of it, and it is negative for debt.
--
-- Locks   the user's balance row when a grant is due that it may pay, nothing otherwise.
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
    v_found record;
    v_state credits.balance_state;
begin
    select * into strict v_found
      from credits.get_balances(array[auth.uid()], p_wait => true);
    if v_found.code is not null then
        perform base.refuse(v_found.code, v_found.detail);
    end if;
    v_state := v_found.summary;
    return row(
        v_state.balance, v_state.free_credits_remaining, v_state.total_earned, v_state.total_spent,
        v_state.daily_free_credits, v_state.next_daily_credits_at, v_state.version
    )::credits.balance_summary;
end
$$;

alter function credits.get_balance owner to mana_ledger;
revoke all on function credits.get_balance from public;
grant execute on function credits.get_balance to mana_backend, mana_api;
