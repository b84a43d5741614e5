alter table auth.passwords enable row level security;
alter table auth.passwords force row level security;

drop policy if exists "the auth functions see the rows of the users they act for" on auth.passwords;
create policy "the auth functions see the rows of the users they act for" on auth.passwords
    for all to mana_auth
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on auth.passwords from public;
grant select, insert on auth.passwords to mana_auth;
