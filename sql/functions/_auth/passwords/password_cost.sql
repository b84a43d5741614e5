-- Called by auth functions that hash a password.
--
-- The cost of bcrypt: each step doubles the work. Tests replace this function with a cheap one.
create or replace function _auth.password_cost()
returns int
language sql
immutable
as $$
    select 12
$$;

alter function _auth.password_cost owner to mana_auth;
revoke all on function _auth.password_cost from public;
grant execute on function _auth.password_cost to mana_auth;
