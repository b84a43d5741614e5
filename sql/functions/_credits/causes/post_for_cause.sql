-- Called by _credits.reverse_spend, credits.adjust, credits.complete_purchase and credits.reverse_purchase, with the
-- balance row locked.
--
-- Makes one movement and writes down why, and who decided it. One cause moves once.
--
-- Raises  23505 unique_violation  this cause has moved something before
create or replace function _credits.post_for_cause(
    p_cause       text,
    p_movement    credits.movement,
    p_reverses    uuid default null,
    p_reason      text default null,
    p_note        text default null,
    p_actor       text default null,
    p_approved_by text default null
)
returns credits.transactions
language sql
volatile
as $$
    with posted as (
        select * from _credits.post_movements(array[p_movement])
    ), caused as (
        insert into credits.causes (user_id, cause, transaction_id, reverses, reason, note, actor, approved_by)
        select p.user_id, p_cause, p.id, p_reverses, p_reason, p_note, p_actor, p_approved_by from posted as p
    )
    select * from posted
$$;

alter function _credits.post_for_cause owner to mana_ledger;
revoke all on function _credits.post_for_cause from public;
grant execute on function _credits.post_for_cause to mana_ledger;
