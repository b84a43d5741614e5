-- Called by auth.log_in, auth.register_user, _credits.decision_error and _credits.spend.
--
-- Whether people see anything of the text. Null is.
create or replace function base.is_readable(p_text text)
returns boolean
language sql
immutable
as $$
    select p_text is null
           or p_text collate "C" ~ '[\x21-\x7e]'
           or btrim(base.visible(p_text)) <> ''
$$;

alter function base.is_readable owner to mana_owner;
revoke all on function base.is_readable from public;
grant execute on function base.is_readable to mana_auth, mana_ledger;
