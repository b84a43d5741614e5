-- Called by administrators (mana user make-admin).
--
-- Gives a user another role. Access tokens with the old one are refused from now on; a refresh
-- brings the new role.
--
-- Locks   the user's row.
-- Raises  PT400 invalid_request    no role
--         PT404 not_found
create or replace function auth.set_role(p_email text, p_role auth.user_role)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user auth.users;
begin
    if p_role is null then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'role: is required.';
    end if;

    v_user := _auth.find_user(p_email);
    update auth.users set role = p_role, updated_at = base.clock() where id = v_user.id;
    perform _auth.record_event('role_changed');
end
$$;

alter function auth.set_role owner to mana_auth;
revoke all on function auth.set_role from public;
