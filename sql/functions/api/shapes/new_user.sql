-- Called by api.register_user.
--
-- A user who has just registered.
create or replace function api.new_user(p_user auth.users)
returns json
language sql
stable
as $$
    select json_build_object(
        'id', p_user.id, 'email', p_user.email, 'name', p_user.name, 'createdAt', api.iso_time(p_user.created_at)
    )
$$;

alter function api.new_user owner to mana_api;
revoke all on function api.new_user from public;
grant execute on function api.new_user to mana_api;
