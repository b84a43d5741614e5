-- An identity that this transaction's functions have found out carries a seal; the api functions become the only
-- ones that the gateway's role may call; a backend is bound to its apps.
set local lock_timeout = '1s';

do $$
declare
    v_set     constant text := case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end;
    v_routine regprocedure;
begin
    begin
        create role mana_api nologin;
    exception
        when duplicate_object or unique_violation then null;  -- roles are the cluster's: another database has made it
    end;
    -- A non-superuser administrator has to be a member to hand objects over.
    if not (pg_has_role(current_user, 'mana_api', 'usage') and pg_has_role(current_user, 'mana_api', v_set)) then
        grant mana_api to current_user;
    end if;

    -- What the gateways of the release before call goes on working: its api functions get the rights that the
    -- gateway's role has until now.
    grant create on schema api to mana_api;
    for v_routine in select oid from pg_proc where pronamespace = 'api'::regnamespace loop
        execute format('alter routine %s security definer', v_routine);
        execute format('alter routine %s set search_path = pg_catalog, pg_temp', v_routine);
        execute format('alter routine %s owner to mana_api', v_routine);
    end loop;
    revoke create on schema api from mana_api;
    for v_routine in
        select oid
          from pg_proc
         where pronamespace in ('base'::regnamespace, 'auth'::regnamespace, 'credits'::regnamespace)
           and has_function_privilege('mana_gateway', oid, 'execute')
    loop
        execute format('grant execute on routine %s to mana_api', v_routine);
    end loop;
    grant usage on schema base, auth, credits, api to mana_api;
end
$$;

set local role mana_owner;

-- One row: the key of the seals (_auth.seal). It protects transactions that are running, nothing that is stored.
-- A transaction that began before required_from may have an identity without a seal.
create table auth.seal_key (
    id            boolean primary key default true check (id),
    key           bytea not null check (length(key) = 32),
    required_from timestamptz not null
);

-- The apps that a backend's login role works for; * stands for every app. See credits.bind_backend.
create table credits.backend_apps (
    role_name name not null,
    app_id    text not null check (length(app_id) between 1 and 100),
    primary key (role_name, app_id)
);

-- Backends from before go on working for every app until an administrator binds them.
insert into credits.backend_apps (role_name, app_id)
select rolname as role_name, '*' as app_id
  from pg_roles
 where pg_has_role(oid, 'mana_backend', 'member') and rolname <> 'mana_backend' and rolcanlogin and not rolsuper;

-- Functions of the release before make no seals, and this deploy may take some time to replace them: transactions
-- that are running then are to end well.
insert into auth.seal_key (key, required_from)
select
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) as key,
    case
        when to_regprocedure('auth.uid()') is null then '-infinity'
        else now() + interval '1 hour'
    end as required_from;

reset role;
