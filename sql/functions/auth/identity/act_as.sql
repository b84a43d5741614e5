-- Called by trusted backends, at the start of a transaction.
--
-- Makes p_user_id the user of this transaction, with the rights of that user and no others. It
-- ends with the transaction: outside of one it has no effect on the next statement.
--
-- Raises  PT404 not_found          no such user, or deleted
--         PT401 account_disabled
create or replace function auth.act_as(p_user_id uuid)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_disabled_at timestamptz;
begin
    select disabled_at into v_disabled_at from auth.users where id = p_user_id and deleted_at is null;
    if not found then
        raise sqlstate 'PT404' using message = 'not_found', detail = 'There is no such user.';
    end if;
    if v_disabled_at is not null then
        raise sqlstate 'PT401' using message = 'account_disabled', detail = 'This account is disabled.';
    end if;

    perform _auth.assume_users(array[p_user_id], json_build_object('sub', p_user_id, 'role', 'user')::text);
end
$$;

alter function auth.act_as owner to mana_auth;
revoke all on function auth.act_as from public;
grant execute on function auth.act_as to mana_backend;
