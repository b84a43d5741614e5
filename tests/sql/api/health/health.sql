-- api.health: what the gateway refuses to start with.
begin;
\ir ../../setup.psql
select plan(24);

create function tap.health_with(p_setting text default null, p_value text default null)
returns text
language plpgsql
as $$
begin
    perform set_config(p_setting, p_value, true) where p_setting is not null;
    set local role mana_gateway;
    return (select (status, body::jsonb, headers)::text from api.health());
end
$$;

-- One setting at a time, each taken back.
create function tap.problem_with(p_setting text, p_value text)
returns text
language plpgsql
as $$
declare
    v_answer text;
begin
    begin
        v_answer := health_with(p_setting, p_value);
        raise sqlstate 'TAP00';
    exception
        when sqlstate 'TAP00' then return v_answer;
    end;
end
$$;

create function tap.unhealthy_ok(p_setting text, p_value text, p_problem text) returns text language sql as $$
    select is(
        problem_with(p_setting, p_value), (503, jsonb_build_object('problems', array[p_problem]), null::json)::text,
        p_problem
    )
$$;

set local log_parameter_max_length = 0;
set local log_parameter_max_length_on_error = 0;
set local log_error_verbosity = terse;
set local statement_timeout = '5s';
set local lock_timeout = '2s';
set local password_encryption = 'scram-sha-256';
set local synchronous_commit = on;

select is(
    problem_with('application_name', 'mana'), (200, '{"problems": []}'::jsonb, null::json)::text,
    'as the gateway''s role with its settings all is well'
);

select unhealthy_ok(
    'log_parameter_max_length', '-1', 'log_parameter_max_length must be 0: parameters hold tokens and digests'
);
select unhealthy_ok(
    'log_parameter_max_length_on_error', '-1',
    'log_parameter_max_length_on_error must be 0: parameters hold tokens and digests'
);
select unhealthy_ok(
    'log_error_verbosity', 'default', 'log_error_verbosity must be terse: details quote the values of rows'
);
select unhealthy_ok('statement_timeout', '0', 'statement_timeout must be 1 second at least for the gateway''s role');
select unhealthy_ok(
    'statement_timeout', '999ms', 'statement_timeout must be 1 second at least for the gateway''s role'
);
select unhealthy_ok('lock_timeout', '0', 'lock_timeout must be 50 milliseconds at least for the gateway''s role');
select unhealthy_ok('lock_timeout', '49ms', 'lock_timeout must be 50 milliseconds at least for the gateway''s role');
select is(
    array[problem_with('statement_timeout', '1s'), problem_with('lock_timeout', '50')],
    array_fill((200, '{"problems": []}'::jsonb, null::json)::text, array[2]),
    'these bounds are allowed'
);
select unhealthy_ok('password_encryption', 'md5', 'password_encryption must be scram-sha-256');
select unhealthy_ok('transaction_read_only', 'on', 'default_transaction_read_only must be off for the gateway''s role');
select unhealthy_ok(
    'synchronous_commit', 'off', 'synchronous_commit must be on: what is acknowledged must not be lost'
);
select unhealthy_ok('array_nulls', 'off', 'array_nulls must be on for the gateway''s role');
select unhealthy_ok('row_security', 'off', 'row_security must be on for the gateway''s role');
select unhealthy_ok('session_replication_role', 'replica', 'session_replication_role must be origin');
select unhealthy_ok(
    'standard_conforming_strings', 'off', 'standard_conforming_strings must be on for the gateway''s role'
);
select unhealthy_ok('client_encoding', 'LATIN1', 'client_encoding must be UTF8 for the gateway''s role');
select unhealthy_ok(
    'auto_explain.log_min_duration', '0', 'auto_explain.log_min_duration must be -1: plans hold tokens and digests'
);
select unhealthy_ok(
    'pgaudit.log_parameter', 'on', 'pgaudit.log_parameter must be off: parameters hold tokens and digests'
);
select unhealthy_ok(
    'debug_print_plan', 'on',
    'debug_print_parse, debug_print_rewritten and debug_print_plan must be off: plans hold digests'
);
select is(
    problem_with('synchronous_commit', 'remote_apply'), (200, '{"problems": []}'::jsonb, null::json)::text,
    'a server may promise more than the disk'
);

-- Another role
select is(
    (select array_agg(split_part(problem, ',', 1))
       from api.health(), json_array_elements_text(body -> 'problems') as problem),
    array[
        'the gateway must not log in as ' || current_user, 'the gateway must not log in as ' || current_user
    ],
    'a superuser is refused as the gateway, for both reasons'
);
grant select on credits.balances to mana_gateway;
select is(
    problem_with('application_name', 'mana'),
    (
        503, '{"problems": ["the gateway must not log in as mana_gateway, a role with privileges on tables"]}'::jsonb,
        null::json
    )::text,
    'a gateway that was granted a table is refused'
);
set local role mana_backend;
select throws_ok(
    'select api.health()', '42501', 'permission denied for schema api', 'a backend has no business with it'
);

select * from finish();
rollback;
