-- _credits.spendable
begin;
\ir ../../setup.psql
select plan(9);

create function tap.spendable(p_free bigint, p_paid bigint, p_held bigint) returns bigint language sql as $$
    select _credits.spendable(b)
      from jsonb_populate_record(
               null::credits.balances,
               jsonb_build_object('free_credits_remaining', p_free, 'balance', p_paid, 'held', p_held)
           ) as b
$$;

set local role mana_ledger;
select is(spendable(free, paid, held), expected, description)
  from (values
      (150::bigint, 30::bigint, 0::bigint, 180::bigint, 'both parts can be spent'),
      (150, 0, 0, 150, 'so can one alone'),
      (0, 0, 0, 0, 'an empty balance has nothing to spend'),
      (150, 30, 40, 140, 'what is held is left out, of whichever part it will be'),
      (150, 30, 180, 0, 'when all of it is held, nothing is left'),
      (150, -70, 0, 150, 'debt leaves free credits to spend'),
      (0, -70, 0, 0, 'debt alone is nothing to spend, rather than less than that'),
      (50, -70, 40, 10, 'what is held is left out of the free part when there is debt'),
      (30, -70, 40, 0, 'when a reversal has taken what was held, nothing is left')
  ) as c (free, paid, held, expected, description);

select * from finish();
rollback;
