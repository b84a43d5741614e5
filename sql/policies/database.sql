-- The database's own grants and settings. They are no part of a dump or a template copy, so
-- they are written again at every deploy.
do $$
declare
    v_setting text;
begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to mana_gateway, mana_backend, mana_reader', current_database());

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
