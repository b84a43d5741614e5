-- Called by auth.act_for_email, auth.set_disabled and auth.set_role.
--
-- The user with this e-mail address, who is the user of the rest of the transaction.
--
-- Locks   the user's row.
-- Raises  PT404 not_found
create or replace function _auth.find_user(p_email text)
returns auth.users
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_email constant text := lower(p_email collate "C");
    v_user  auth.users;
begin
    select * into v_user
      from auth.users
     where email = v_email and deleted_at is null
       for no key update;
    if not found then
        raise sqlstate 'PT404' using message = 'not_found', detail = 'There is no user with this e-mail address.';
    end if;

    perform _auth.assume_users(array[v_user.id]);
    return v_user;
end
$$;

alter function _auth.find_user owner to mana_auth;
revoke all on function _auth.find_user from public;
grant execute on function _auth.find_user to mana_auth;
