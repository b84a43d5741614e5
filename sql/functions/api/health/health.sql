-- Called by the gateway at its start and by GET /health and /health/ready.
--
-- Says whether the database answers and is set up as the service needs it: one line for each
-- setting that would leak a secret into a log, let a request wait for ever, change what a request
-- means, or let the caller go around row-level security, and for a server that cannot be written to.
-- Status 503 when there is any.
create or replace function api.health()
returns api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_caller   constant name := coalesce(nullif(current_setting('role'), 'none'), session_user);
    v_problems text[];
begin
    select array_agg(p.problem)
      into v_problems
      from (values
          (current_setting('log_parameter_max_length') <> '0',
           'log_parameter_max_length must be 0: parameters hold tokens and digests'),
          (current_setting('log_parameter_max_length_on_error') <> '0',
           'log_parameter_max_length_on_error must be 0: parameters hold tokens and digests'),
          (current_setting('log_error_verbosity') <> 'terse',
           'log_error_verbosity must be terse: details quote the values of rows'),
          (current_setting('statement_timeout')::interval < '1 second',
           'statement_timeout must be 1 second at least for the gateway''s role'),
          (current_setting('lock_timeout')::interval < '50 milliseconds',
           'lock_timeout must be 50 milliseconds at least for the gateway''s role'),
          (current_setting('password_encryption') <> 'scram-sha-256', 'password_encryption must be scram-sha-256'),
          (current_setting('transaction_isolation') <> 'read committed',
           'default_transaction_isolation must be read committed for the gateway''s role'),
          (pg_is_in_recovery(), 'the server is a standby, and requests have to write'),
          (current_setting('transaction_read_only') = 'on' and not pg_is_in_recovery(),
           'default_transaction_read_only must be off for the gateway''s role'),
          (current_setting('synchronous_commit') not in ('on', 'remote_apply'),
           'synchronous_commit must be on: what is acknowledged must not be lost'),
          (current_setting('array_nulls') <> 'on', 'array_nulls must be on for the gateway''s role'),
          (current_setting('row_security') <> 'on', 'row_security must be on for the gateway''s role'),
          (current_setting('session_replication_role') <> 'origin', 'session_replication_role must be origin'),
          (current_setting('standard_conforming_strings') <> 'on',
           'standard_conforming_strings must be on for the gateway''s role'),
          (current_setting('client_encoding') <> 'UTF8', 'client_encoding must be UTF8 for the gateway''s role'),
          (nullif(current_setting('auto_explain.log_min_duration', true), '') <> '-1',
           'auto_explain.log_min_duration must be -1: plans hold tokens and digests'),
          (current_setting('pgaudit.log_parameter', true) = 'on',
           'pgaudit.log_parameter must be off: parameters hold tokens and digests'),
          ('on' in (current_setting('debug_print_parse'), current_setting('debug_print_rewritten'),
                    current_setting('debug_print_plan')),
           'debug_print_parse, debug_print_rewritten and debug_print_plan must be off: plans hold digests'),
          (current_setting('server_encoding') <> 'UTF8', 'the database''s encoding must be UTF8'),
          (current_setting('server_version_num')::int < 150000, 'PostgreSQL 15 or newer is needed'),
          ((select rolsuper or rolbypassrls from pg_roles where rolname = v_caller),
           format('the gateway must not log in as %s, a role that row-level security does not bind', v_caller)),
          (has_table_privilege(v_caller, 'credits.balances', 'select')
           or has_table_privilege(v_caller, 'auth.users', 'select'),
           format('the gateway must not log in as %s, a role with privileges on tables', v_caller))
      ) as p (is_so, problem)
     where p.is_so;
    return api.ok(
        json_build_object('problems', coalesce(v_problems, '{}')),
        p_status => case when v_problems is null then 200 else 503 end
    );
end
$$;

alter function api.health owner to mana_api;
revoke all on function api.health from public;
grant execute on function api.health to mana_gateway;
