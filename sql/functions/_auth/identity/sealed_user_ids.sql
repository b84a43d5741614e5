-- Called by auth.require_user and auth.require_users.
--
-- The users of this transaction; null if it has no user, or a seal that is not from
-- _auth.assume_users. It needs no seal within an hour of the upgrade from a release without seals.
create or replace function _auth.sealed_user_ids()
returns uuid[]
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('request.seal', true) = _auth.seal()
       or transaction_timestamp() < (select required_from from auth.seal_key) then
        return auth.user_ids();
    end if;
    return null;
end
$$;

alter function _auth.sealed_user_ids owner to mana_auth;
revoke all on function _auth.sealed_user_ids from public;
grant execute on function _auth.sealed_user_ids to mana_auth;
