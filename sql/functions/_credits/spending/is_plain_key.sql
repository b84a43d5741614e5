-- Called by _credits.spend.
--
-- Whether people can tell the key from any other that looks different: no control character, none
-- that is invisible or changes the direction of a text, and blanks only between others. Null is.
create or replace function _credits.is_plain_key(p_key text)
returns boolean
language sql
immutable
as $$
    select p_key is null
           or p_key collate "C" ~ '^[\x21-\x7e]+$'
           or p_key collate "C" !~ (
               '^ | $|['
               '\u0001-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f'
               '\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb'
               '\U0001d173-\U0001d17a\U000e0000-\U000e0fff]'
           )
$$;

alter function _credits.is_plain_key owner to mana_ledger;
revoke all on function _credits.is_plain_key from public;
grant execute on function _credits.is_plain_key to mana_ledger;
