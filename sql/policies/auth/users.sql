-- Who somebody is has to be found out before it is known: the auth functions see every user.
alter table auth.users enable row level security;
alter table auth.users force row level security;

drop policy if exists "the auth functions see and change every user" on auth.users;
create policy "the auth functions see and change every user" on auth.users
    for all to mana_auth
    using (true)
    with check (true);

drop policy if exists "the auditor sees which users there are" on auth.users;
create policy "the auditor sees which users there are" on auth.users
    for select to mana_auditor
    using (true);

revoke all on auth.users from public;
grant select, insert on auth.users to mana_auth;
grant update (role, updated_at, disabled_at) on auth.users to mana_auth;
grant select (id) on auth.users to mana_auditor;
