-- Called by base.is_readable and _credits.is_plain_key.
--
-- What people see of a text: it without control characters, blanks other than the plain one, and characters
-- that are invisible or change the direction of others. Null is null.
create or replace function base.visible(p_text text)
returns text
language sql
immutable
as $$
    select regexp_replace(
        p_text collate "C",
        '['
        '\u0001-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f'
        '\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb'
        '\U0001d173-\U0001d17a\U000e0000-\U000e0fff]',
        '',
        'g'
    )
$$;

alter function base.visible owner to mana_owner;
revoke all on function base.visible from public;
grant execute on function base.visible to mana_auth, mana_ledger;
