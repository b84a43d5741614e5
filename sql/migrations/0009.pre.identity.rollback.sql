set local lock_timeout = '1s';

drop table credits.backend_apps;
drop table auth.seal_key;

revoke all on schema base, auth, credits, api from mana_api;
do $$
begin
    drop role mana_api;
exception
    when dependent_objects_still_exist or insufficient_privilege then null;  -- another database uses it
end
$$;
