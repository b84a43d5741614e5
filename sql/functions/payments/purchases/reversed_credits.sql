-- Called by payments.apply_snapshot and _credits.find_discrepancies.
--
-- How many of a purchase's credits are reversed, by the one formula: all of them when all that was paid has gone
-- back, else the same part of them, rounded up. p_lost is what was refunded or is disputed. A purchase that cost
-- nothing has nothing to go back.
create or replace function payments.reversed_credits(p_credits bigint, p_paid bigint, p_lost bigint)
returns bigint
language sql
immutable
parallel safe
as $$
    select case
        when p_paid = 0 or p_lost <= 0 then 0
        when p_lost >= p_paid then p_credits
        else ceil(p_credits::numeric * p_lost / p_paid)::bigint
    end
$$;

alter function payments.reversed_credits owner to mana_payments;
revoke all on function payments.reversed_credits from public;
grant execute on function payments.reversed_credits to mana_payments, mana_auditor;
