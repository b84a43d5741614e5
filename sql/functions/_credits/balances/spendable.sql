-- Called by _credits.balance_summary, _credits.spend, credits.adjust and credits.is_unspent.
--
-- What this balance can pay for now: debt, the negative paid part, leaves free credits usable, and what is
-- held is kept for its reservation.
create or replace function _credits.spendable(p_balance credits.balances)
returns bigint
language sql
immutable
parallel safe
as $$
    select greatest(p_balance.free_credits_remaining + greatest(p_balance.balance, 0) - p_balance.held, 0)
$$;

alter function _credits.spendable owner to mana_ledger;
revoke all on function _credits.spendable from public;
grant execute on function _credits.spendable to mana_ledger;
