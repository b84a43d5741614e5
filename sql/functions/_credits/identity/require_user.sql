-- Called by every credits function for a user, first.
--
-- The user of this transaction.
--
-- Raises  PT401 authentication_required
create or replace function _credits.require_user()
returns uuid
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.uid();
begin
    if v_user_id is null then
        raise sqlstate 'PT401' using
            message = 'authentication_required', detail = 'This transaction has no user: call auth.act_as() in it first.';
    end if;
    return v_user_id;
end
$$;

alter function _credits.require_user owner to mana_ledger;
revoke all on function _credits.require_user from public;
grant execute on function _credits.require_user to mana_ledger;
