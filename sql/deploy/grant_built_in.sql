-- Called by rollback.
--
-- Gives everybody back what policies/database.sql revokes of PostgreSQL's own functions.
do $$
declare
    v_function regprocedure;
begin
    if not (select rolsuper from pg_roles where rolname = current_user) then
        return;
    end if;
    for v_function in
        select p.oid
          from pg_proc as p
         where p.pronamespace = 'pg_catalog'::regnamespace
           and exists (
               select from aclexplode(p.proacl) as a
                where a.grantee in ('mana_auth'::regrole, 'mana_backend'::regrole)
           )
    loop
        execute format('grant execute on function %s to public', v_function);
        execute format('revoke execute on function %s from mana_auth, mana_backend', v_function);
    end loop;
end
$$;
