-- Called by administrators (mana credits).
--
-- Makes the user with this e-mail address the one of this transaction, a disabled one as well, and returns whose id
-- it is.
--
-- Locks   the user's row.
-- Raises  PT404 not_found
create or replace function auth.act_for_email(p_email text)
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (_auth.find_user(p_email)).id;
end
$$;

alter function auth.act_for_email owner to mana_auth;
revoke all on function auth.act_for_email from public;
