-- Called by _credits.spend and credits.bind_backend.
--
-- Whether this is the name of an app that may spend. It reaches the views, so it is no free text. Null
-- is not.
create or replace function _credits.is_app_id(p_app_id text)
returns boolean
language sql
immutable
as $$
    select coalesce(length(p_app_id) <= 100 and p_app_id collate "C" ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$', false)
$$;

alter function _credits.is_app_id owner to mana_ledger;
revoke all on function _credits.is_app_id from public;
grant execute on function _credits.is_app_id to mana_ledger;
