-- Called by administrators (mana user disable, mana user enable).
--
-- Closes an account and ends all its sessions, or opens it again. Nothing is lost: credits and
-- history stay.
--
-- Locks   the user's row, then the rows of the sessions that it ends.
-- Raises  PT400 invalid_request    not said which
--         PT404 not_found
create or replace function auth.set_disabled(p_email text, p_disabled boolean)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user auth.users;
    v_now  timestamptz;
begin
    if p_disabled is null then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = 'disabled: is required.';
    end if;

    v_user := _auth.find_user(p_email);
    v_now := base.clock();
    update auth.users
       set disabled_at = case when p_disabled then coalesce(disabled_at, v_now) end, updated_at = v_now
     where id = v_user.id;
    if p_disabled then
        update auth.sessions set revoked_at = v_now where user_id = v_user.id and revoked_at is null;
    end if;
    perform _auth.record_event(case when p_disabled then 'disabled' else 'enabled' end);
end
$$;

alter function auth.set_disabled owner to mana_auth;
revoke all on function auth.set_disabled from public;
