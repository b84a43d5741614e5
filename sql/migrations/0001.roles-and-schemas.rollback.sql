set local lock_timeout = '1s';

drop type api.response;

drop extension pgcrypto;

drop schema api;
drop schema credits;
drop schema auth;
drop schema extensions;

-- A role that another database of the cluster still uses has to stay.
do $$
declare
    v_role text;
begin
    foreach v_role in array array[
        'mana_owner', 'mana_auth', 'mana_ledger', 'mana_auditor',
        'mana_gateway', 'mana_backend', 'mana_reader'
    ] loop
        execute format('drop owned by %I', v_role);
        begin
            execute format('drop role %I', v_role);
        exception
            when dependent_objects_still_exist then null;
        end;
    end loop;
end
$$;
