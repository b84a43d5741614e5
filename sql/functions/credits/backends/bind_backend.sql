-- Called by administrators (mana backend bind).
--
-- Binds a login role to exactly these apps: it spends for them and sees their transactions, and no
-- others. * stands for every app, an empty array for none. What is bound can be taken away whatever
-- has become of the role.
--
-- Raises  PT400 invalid_request    the detail names the parameter
create or replace function credits.bind_backend(p_role name, p_app_ids text[])
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
           select from pg_roles
            where rolname = p_role and rolcanlogin and not rolsuper and pg_has_role(oid, 'mana_backend', 'member')
       )
       and (p_app_ids <> '{}' or not exists (select from credits.backend_apps where role_name = p_role)) then
        perform base.refuse('invalid_request', 'role: must be a login role and a member of mana_backend.');
    end if;
    if p_app_ids is null
       or exists (select from unnest(p_app_ids) as a (id) where a.id is distinct from '*' and not _credits.is_app_id(a.id)) then
        perform base.refuse(
            'invalid_request',
            'app_ids: each must be * or have 1 to 100 letters and digits of ASCII, with . _ - after the first.'
        );
    end if;

    delete from credits.backend_apps where role_name = p_role and app_id <> all (p_app_ids);
    insert into credits.backend_apps (role_name, app_id)
    select p_role, a.id from unnest(p_app_ids) as a (id)
    on conflict do nothing;
end
$$;

alter function credits.bind_backend owner to mana_ledger;
revoke all on function credits.bind_backend from public;
