-- Who may do what is decided by roles. Nobody here owns what they use: tables belong to
-- mana_owner, functions to the definer role whose rows they need, and the two kinds of
-- clients (mana_gateway, mana_backend) own nothing at all.
set local lock_timeout = '1s';

do $$
declare
    v_role text;
    v_set  constant text := case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end;
begin
    foreach v_role in array array[
        'mana_owner', 'mana_auth', 'mana_ledger', 'mana_auditor',
        'mana_gateway', 'mana_backend', 'mana_reader'
    ] loop
        -- Roles are the cluster's: another database may have made them, even just now.
        begin
            execute format('create role %I %s', v_role, case v_role when 'mana_gateway' then 'login' else 'nologin' end);
        exception
            when duplicate_object or unique_violation then null;
        end;
        -- An administrator who is no superuser has to be a member to hand objects over. From
        -- version 16 on, making a role gives the right to grant it, and neither of the other two.
        if v_role in ('mana_owner', 'mana_auth', 'mana_ledger', 'mana_auditor')
           and not (pg_has_role(current_user, v_role, 'usage') and pg_has_role(current_user, v_role, v_set)) then
            execute format('grant %I to current_user', v_role);
        end if;
    end loop;
end
$$;

create schema auth authorization mana_owner;
create schema credits authorization mana_owner;
create schema api authorization mana_owner;

-- pgcrypto is trusted: the database's owner may create it. Its functions stay executable by
-- everyone, so the schema is what is closed (policies/schemas.sql).
create schema extensions authorization mana_owner;
create extension pgcrypto with schema extensions;

set local role mana_owner;

-- What every api function answers; the gateway passes the body on as it is.
create type api.response as (status int, body json, headers json);

reset role;
