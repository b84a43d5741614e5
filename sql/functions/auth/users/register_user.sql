-- Called by api.register_user and by administrators.
--
-- Makes a user with a password and an opened credits account, all or nothing, and returns it.
-- p_password_digest is the gateway's keyed digest, never the password. The new user is the user
-- of the rest of the transaction. The normal form of an address is the gateway's: here only ASCII
-- letters are made small, which is the same in every locale, and another form than NFC is refused.
--
-- Locks   nothing that exists; two registrations of one address wait for each other.
-- Raises  PT400 invalid_request    the detail names the parameter
--         PT409 email_taken
create or replace function auth.register_user(p_email text, p_password_digest text, p_name text default null)
returns auth.users
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := base.clock();
    v_id    constant uuid := base.uuid_v7(v_now);
    v_email constant text := lower(p_email collate "C");
    v_hash  text;
    v_user  auth.users;
begin
    if v_email is null or length(v_email) not between 3 and 254 or position('@' in v_email) < 2
       or v_email is not nfc normalized then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'email: must be an e-mail address.';
    end if;
    if coalesce(p_password_digest, '') = '' then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'password: is required.';
    end if;
    if length(p_name) not between 1 and 255 then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'name: must have 1 to 255 characters.';
    end if;
    if not base.is_readable(p_name) then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'name: must have a visible character.';
    end if;

    -- bcrypt comes after the cheap look and before the insert, so that two registrations of one
    -- address wait for an insert and not for bcrypt.
    if not exists (select from auth.users where email = v_email) then
        v_hash := extensions.crypt(p_password_digest, extensions.gen_salt('bf', _auth.password_cost()));

        insert into auth.users (id, email, name, created_at, updated_at)
        values (v_id, v_email, p_name, v_now, v_now)
        on conflict (email) do nothing
        returning * into v_user;
    end if;
    if v_user.id is null then
        raise sqlstate 'PT409' using message = 'email_taken', detail = 'This e-mail address is already registered.';
    end if;

    perform _auth.assume_users(array[v_id]);
    insert into auth.passwords (user_id, hash, updated_at) values (v_id, v_hash, v_now);
    perform credits.open_account(v_now);
    perform _auth.record_event('registered');
    return v_user;
end
$$;

alter function auth.register_user owner to mana_auth;
revoke all on function auth.register_user from public;
grant execute on function auth.register_user to mana_api;
