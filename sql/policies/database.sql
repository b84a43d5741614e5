-- The database's own grants and settings. They are no part of a dump or a template copy, so
-- they are written again at every deploy.
do $$
declare
    v_setting text;
begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to mana_gateway, mana_worker, mana_backend, mana_reader', current_database());

    -- Secrets pass through parameters, and the server quotes row values in its details: neither
    -- may reach its log. Only a superuser may set these; api.health() says what is missing.
    foreach v_setting in array array[
        'log_parameter_max_length = 0',
        'log_parameter_max_length_on_error = 0',
        'log_error_verbosity = terse'
    ] loop
        begin
            execute format('alter database %I set %s', current_database(), v_setting);
        exception
            when insufficient_privilege then
                raise warning 'set in the server''s configuration: %', v_setting;
        end;
    end loop;
end
$$;

-- Roles are the cluster's: the deploy of another database may be writing the same now. The one that
-- comes second waits for the first, is refused, and finds the other's settings when it tries again.
do $$
begin
    for v_attempt in 1 .. 10 loop
        begin
            -- A request that waits longer has lost its caller; a lock that is held longer is a fault. Those
            -- who wait for one have few connections, and others wait for these in the gateway's queue, for
            -- 0.8 s: a lock is given up before that.
            alter role mana_gateway set statement_timeout = '5s';
            alter role mana_gateway set lock_timeout = '500ms';
            alter role mana_gateway set idle_in_transaction_session_timeout = '5s';
            alter role mana_gateway set search_path = pg_catalog, pg_temp;
            -- The functions lock, then read again: that takes a new snapshot for each statement.
            alter role mana_gateway set default_transaction_isolation = 'read committed';
            alter role mana_worker set statement_timeout = '30s';
            alter role mana_worker set lock_timeout = '5s';
            alter role mana_worker set idle_in_transaction_session_timeout = '5s';
            alter role mana_worker set search_path = pg_catalog, pg_temp;
            alter role mana_worker set default_transaction_isolation = 'read committed';
            return;
        exception
            when unique_violation or internal_error then
                if v_attempt = 10 then
                    raise;
                end if;
        end;
    end loop;
end
$$;

-- By default, every role that may connect may call these functions of PostgreSQL. They fill the disk with WAL, large
-- objects or snapshots, and the server's table of locks with numbers. A backend is trusted, and may keep its own tables
-- in this database.
do $$
declare
    v_owner    constant regrole := (select datdba from pg_database where datname = current_database());
    v_function regprocedure;
    v_caller   regrole;
    v_open     boolean;
begin
    for v_function, v_caller, v_open in
        select p.oid,
               -- auth.log_in writes one, so that a login that fails takes as long for an unknown address.
               case p.proname when 'pg_logical_emit_message' then 'mana_auth' else 'mana_backend' end::regrole,
               has_function_privilege('public', p.oid, 'execute')
          from pg_proc as p
         where p.pronamespace = 'pg_catalog'::regnamespace
           and (
               p.proname ~ '^(lo_|pg_(try_)?advisory_)'
               or p.proname in ('loread', 'lowrite', 'pg_export_snapshot', 'pg_logical_emit_message')
           )
           -- PostgreSQL itself leaves lo_import and lo_export, which read and write files, to superusers.
           and not exists (select from pg_init_privs as i where i.classoid = 'pg_proc'::regclass and i.objoid = p.oid)
    loop
        if v_open and not (select rolsuper from pg_roles where rolname = current_user) then
            raise warning 'a superuser has to deploy once: every role may fill the disk and the table of locks';
            return;
        end if;
        if v_open then
            execute format('revoke execute on function %s from public', v_function);
        end if;
        if v_open
           or not has_function_privilege(v_caller, v_function, 'execute')
           or not has_function_privilege(v_owner, v_function, 'execute')
        then
            execute format('grant execute on function %s to %s, %s', v_function, v_caller, v_owner);
        end if;
    end loop;
end
$$;

-- A role that logs in inherits no limits from its group. A reader without one gets it. On PostgreSQL 16 and newer, the
-- last connections of the server (reserved_connections) are the gateway's.
do $$
declare
    v_reader  record;
    v_setting text[];
begin
    begin
        if current_setting('server_version_num')::int >= 160000 then
            if not pg_has_role('mana_gateway', 'pg_use_reserved_connections', 'usage') then
                execute 'grant pg_use_reserved_connections to mana_gateway';
            end if;
        end if;
    exception
        when insufficient_privilege then
            raise warning 'a superuser has to grant pg_use_reserved_connections to mana_gateway';
        when unique_violation or internal_error then
            null; -- the deploy of another database of the cluster does the same
    end;
    for v_reader in
        select r.rolname, r.rolconnlimit, coalesce(s.setconfig, '{}') as settings
          from pg_auth_members as m
          join pg_roles as r on r.oid = m.member
          left join pg_db_role_setting as s on s.setrole = r.oid and s.setdatabase = 0
         where m.roleid = 'mana_reader'::regrole and r.rolcanlogin and not r.rolsuper
           and not pg_has_role(r.oid, 'mana_backend', 'member')
    loop
        begin
            if v_reader.rolconnlimit = -1 then
                execute format('alter role %I connection limit 5', v_reader.rolname);
            end if;
            foreach v_setting slice 1 in array array[
                ['statement_timeout', '5min'], ['idle_in_transaction_session_timeout', '1min'],
                ['temp_file_limit', '1GB']
            ] loop
                if not exists (
                    select from unnest(v_reader.settings) as given where starts_with(given, v_setting[1] || '=')
                ) then
                    execute format('alter role %I set %I = %L', v_reader.rolname, v_setting[1], v_setting[2]);
                end if;
            end loop;
        exception
            when insufficient_privilege then
                raise warning 'set a connection limit, time-outs and temp_file_limit for %', v_reader.rolname;
            when unique_violation or internal_error then
                null;
        end;
    end loop;
end
$$;
