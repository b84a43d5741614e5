-- Called by payments functions that have found out whose purchase it is.
--
-- Makes p_user_id the user of this transaction, whatever has become of the account: money that moved at the
-- provider is booked for a disabled or closed account as well.
--
-- Raises  PT404 not_found  there never was such a user
create or replace function auth.act_for(p_user_id uuid)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from auth.users where id = p_user_id) then
        perform base.refuse('not_found');
    end if;
    perform _auth.assume_users(array[p_user_id], json_build_object('sub', p_user_id, 'role', 'user')::text);
end
$$;

alter function auth.act_for owner to mana_auth;
revoke all on function auth.act_for from public;
grant execute on function auth.act_for to mana_payments;
