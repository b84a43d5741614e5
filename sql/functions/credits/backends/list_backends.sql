-- Called by administrators (mana backend list).
--
-- The login roles that are members of mana_backend, each with the apps that it is bound to; and what
-- was bound to roles that are no such roles any more, which a new role of that name would have.
create or replace function credits.list_backends()
returns table (role_name name, app_ids text[])
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select r.name, array(select b.app_id from credits.backend_apps as b where b.role_name = r.name order by b.app_id)
      from (
          select rolname from pg_roles
           where rolcanlogin and not rolsuper and pg_has_role(oid, 'mana_backend', 'member')
          union
          select role_name from credits.backend_apps
      ) as r (name)
     order by r.name
$$;

alter function credits.list_backends owner to mana_ledger;
revoke all on function credits.list_backends from public;
