-- Called by _credits.reverse_spend and credits.adjust.
--
-- What is wrong with a decision to move credits, null when nothing is: its reason, from p_reasons, who takes it, and
-- the key by which a retry is told.
create or replace function _credits.decision_error(
    p_reason text, p_reasons text[], p_note text, p_actor text, p_idempotency_key text
)
returns text
language sql
immutable
as $$
    select case
        when p_reason is null or p_reason <> all (p_reasons)
            then format('reason: must be one of %s.', array_to_string(p_reasons, ', '))
        when length(p_note) not between 1 and 500 or not base.is_readable(p_note)
            then 'note: must have 1 to 500 characters, and a visible one.'
        when p_actor is null or length(p_actor) not between 1 and 255 or not base.is_readable(p_actor)
            then 'actor: must have 1 to 255 characters, and a visible one.'
        when p_idempotency_key is null or length(p_idempotency_key) not between 1 and 255
            then 'idempotency_key: must have 1 to 255 characters.'
        when not _credits.is_plain_key(p_idempotency_key)
            then 'idempotency_key: must have visible characters only, with blanks between them.'
    end
$$;

alter function _credits.decision_error owner to mana_ledger;
revoke all on function _credits.decision_error from public;
grant execute on function _credits.decision_error to mana_ledger;
