-- Called by api.log_in.
--
-- Opens a session for the owner of the password, with refresh tokens good for p_ttl. A failure has
-- to leave a trace, and raising would take it back. So it returns null when the address or the
-- password is wrong, and only the address (no user, no session) when the password is right and the
-- account is disabled. An unknown address costs the same bcrypt as a wrong password, and a write.
--
-- Locks   the user's row against being closed meanwhile.
-- Raises  PT400 invalid_request    the detail names the field
--         25006 read_only_sql_transaction
create or replace function auth.log_in(
    p_email text, p_password_digest text, p_device_id text, p_device_name text, p_ttl interval
)
returns auth.session_grant
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_invalid text;
    v_email constant text := lower(p_email collate "C");
    v_user  auth.users;
    v_hash  text;
    v_right boolean;
    v_grant auth.session_grant;
begin
    v_invalid := case
        when length(p_device_id) not between 1 and 255
            then 'deviceId: must have 1 to 255 characters.'
        when not base.is_readable(p_device_id)
            then 'deviceId: must have a visible character.'
        when length(p_device_name) not between 1 and 255
            then 'deviceName: must have 1 to 255 characters.'
        when not base.is_readable(p_device_name)
            then 'deviceName: must have a visible character.'
        when p_ttl is null or p_ttl not between interval '0' and interval '100 years'
            then 'ttl: must be from 0 to 100 years.'
    end;
    if v_invalid is not null then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = v_invalid;
    end if;

    select * into v_user from auth.users where email = v_email and deleted_at is null;
    if found then
        perform _auth.assume_users(array[v_user.id]);
        select hash into v_hash from auth.passwords where user_id = v_user.id;
    end if;

    -- Without a hash, compare with one that no password produces, so that the cost is the same.
    v_hash := coalesce(v_hash, '$2a$' || lpad(_auth.password_cost()::text, 2, '0') || '$' || repeat('.', 53));
    v_right := extensions.crypt(p_password_digest, v_hash) = v_hash;
    if v_user.id is null then
        -- A wrong password is recorded, and its commit waits for the disk: so does this one. Where nothing can be
        -- recorded, both fail alike.
        if current_setting('transaction_read_only') = 'on' then
            raise read_only_sql_transaction using message = 'a login has to write';
        end if;
        perform pg_logical_emit_message(true, 'mana', 'login_failed');
        return null;
    end if;
    if v_right is not true then
        perform _auth.record_event('login_failed');
        return null;
    end if;
    -- bcrypt took its time. If the account is closed meanwhile, either that transaction ends this session or we see it.
    select * into v_user from auth.users where id = v_user.id for share;
    if v_user.deleted_at is not null then
        return null;
    end if;
    if v_user.disabled_at is not null then
        perform _auth.record_event('login_refused');
        v_grant.email := v_user.email;
        return v_grant;
    end if;

    v_grant := _auth.create_session(p_device_id, p_device_name, p_ttl);
    perform _auth.record_event('logged_in', v_grant.session_id);
    return v_grant;
end
$$;

alter function auth.log_in owner to mana_auth;
revoke all on function auth.log_in from public;
grant execute on function auth.log_in to mana_api;
