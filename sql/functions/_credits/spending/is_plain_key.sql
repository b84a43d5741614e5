-- Called by _credits.decision_error and _credits.spend.
--
-- Whether people can tell the key from any other that looks different: all of it is visible, and
-- blanks are only between others. Null is.
create or replace function _credits.is_plain_key(p_key text)
returns boolean
language sql
immutable
as $$
    select p_key is null
           or p_key collate "C" ~ '^[\x21-\x7e]+$'
           or (p_key = base.visible(p_key) and p_key collate "C" !~ '^ | $')
$$;

alter function _credits.is_plain_key owner to mana_ledger;
revoke all on function _credits.is_plain_key from public;
grant execute on function _credits.is_plain_key to mana_ledger;
