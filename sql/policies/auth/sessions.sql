alter table auth.sessions enable row level security;
alter table auth.sessions force row level security;

drop policy if exists "the auth functions see the rows of the users they act for" on auth.sessions;
create policy "the auth functions see the rows of the users they act for" on auth.sessions
    for all to mana_auth
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on auth.sessions from public;
grant select, insert, delete on auth.sessions to mana_auth;
grant update (last_activity_at, expires_at, revoked_at) on auth.sessions to mana_auth;
