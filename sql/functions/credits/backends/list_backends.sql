-- Called by administrators (mana backend list).
--
-- The login roles that are members of mana_backend, each with the apps that it is bound to.
create or replace function credits.list_backends()
returns table (role_name name, app_ids text[])
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select r.rolname, array(select b.app_id from credits.backend_apps as b where b.role_name = r.rolname order by b.app_id)
      from pg_roles as r
     where r.rolcanlogin and not r.rolsuper and pg_has_role(r.oid, 'mana_backend', 'member')
     order by r.rolname
$$;

alter function credits.list_backends owner to mana_ledger;
revoke all on function credits.list_backends from public;
