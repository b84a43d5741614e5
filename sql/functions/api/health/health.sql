-- Called by the gateway at its start and by GET /health and /health/ready.
--
-- Says whether the database answers and is set up as the service needs it: one line for each
-- setting that would leak a secret into a log, let a request wait for ever, or let the caller
-- go around row-level security. Status 503 when there is any.
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
          (current_setting('statement_timeout') = '0', 'statement_timeout must be set for the gateway''s role'),
          (current_setting('lock_timeout') = '0', 'lock_timeout must be set for the gateway''s role'),
          (current_setting('password_encryption') <> 'scram-sha-256', 'password_encryption must be scram-sha-256'),
          (current_setting('transaction_isolation') <> 'read committed',
           'default_transaction_isolation must be read committed for the gateway''s role'),
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
