-- Called by auth functions that have found out whose rows they need.
--
-- Makes p_user_ids the users of the rest of this transaction: policies then show the rows of these
-- users and of nobody else. p_claims are those of a lone caller's access token. Nothing else writes
-- an identity, and the seal tells it from one that a client has set.
create or replace function _auth.assume_users(p_user_ids uuid[], p_claims text default '')
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_set text;
begin
    v_set := set_config('request.user_ids', array_to_string(p_user_ids, ' '), true);
    v_set := set_config('request.jwt.claims', p_claims, true);
    v_set := set_config('request.seal', _auth.seal(), true);
end
$$;

alter function _auth.assume_users owner to mana_auth;
revoke all on function _auth.assume_users from public;
grant execute on function _auth.assume_users to mana_auth;
