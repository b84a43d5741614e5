-- Append-only: events are written and never touched again.
alter table auth.security_events enable row level security;
alter table auth.security_events force row level security;

drop policy if exists "the auth functions see the rows of the users they act for" on auth.security_events;
create policy "the auth functions see the rows of the users they act for" on auth.security_events
    for all to mana_auth
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on auth.security_events from public;
grant select, insert on auth.security_events to mana_auth;
