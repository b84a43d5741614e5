set local lock_timeout = '1s';

drop type api.response;

drop extension pgcrypto;

drop schema api;
drop schema credits;
drop schema auth;
drop schema extensions;

-- A role that another database of the cluster still uses, or that is somebody else's, has to stay.
do $$
declare
    v_role text;
begin
    foreach v_role in array array[
        'mana_owner', 'mana_auth', 'mana_ledger', 'mana_auditor',
        'mana_gateway', 'mana_backend', 'mana_reader'
    ] loop
        -- Not `drop owned by`: that takes away what the role may do in other databases as well.
        execute format('revoke all on database %I from %I', current_database(), v_role);
        begin
            execute format('drop role %I', v_role);
        exception
            when dependent_objects_still_exist or insufficient_privilege then null;
        end;
    end loop;
end
$$;
