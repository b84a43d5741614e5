-- Called by credits.complete_purchase and credits.reverse_purchase, with the balance row locked.
--
-- Moves paid credits of the user of this transaction, and writes down why. One cause moves once.
--
-- Raises  23505 unique_violation  this cause has moved something before
create or replace function _credits.post_for_cause(
    p_cause           text,
    p_type            credits.transaction_type,
    p_counter_account credits.account,
    p_paid            bigint,
    p_description     text,
    p_reverses        uuid default null
)
returns void
language sql
volatile
as $$
    insert into credits.causes (user_id, cause, transaction_id, reverses)
    select t.user_id, p_cause, t.id, p_reverses
      from _credits.post_movements(array[row(
          auth.uid(), p_type, p_counter_account, 0, p_paid, p_description, null, null, null, null, null
      )::credits.movement]) as t
$$;

alter function _credits.post_for_cause owner to mana_ledger;
revoke all on function _credits.post_for_cause from public;
grant execute on function _credits.post_for_cause to mana_ledger;
