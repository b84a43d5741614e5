-- Called by credits.find_transaction, credits.page_of_transactions, credits.reverse_spend and
-- credits.use_credits.
--
-- The apps that the session's login role works for: none until an administrator has bound it
-- (credits.bind_backend). Null stands for every app: the gateway's role and administrators are not
-- members of mana_backend, and a backend may be bound to *. SET ROLE does not change the answer.
create or replace function _credits.bound_apps()
returns text[]
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_apps text[];
begin
    if not pg_has_role(session_user, 'mana_backend', 'member')
       or exists (select from pg_roles where rolname = session_user and rolsuper) then
        return null;
    end if;
    v_apps := array(select app_id from credits.backend_apps where role_name = session_user);
    return case when '*' <> all (v_apps) then v_apps end;
end
$$;

alter function _credits.bound_apps owner to mana_ledger;
revoke all on function _credits.bound_apps from public;
grant execute on function _credits.bound_apps to mana_ledger;
