-- Called by auth functions that found out by themselves whose rows they need.
--
-- Makes p_user_id the user of the rest of this transaction, without a role or a session: policies
-- then show the rows of that user and of nobody else, also to a statement that forgot its WHERE.
create or replace function _auth.assume_user(p_user_id uuid)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('request.jwt.claims', json_build_object('sub', p_user_id)::text, true);
end
$$;

alter function _auth.assume_user owner to mana_auth;
revoke all on function _auth.assume_user from public;
grant execute on function _auth.assume_user to mana_auth;
