-- No function uses this table yet, so nothing is granted.
alter table auth.two_factor_auth enable row level security;
alter table auth.two_factor_auth force row level security;

drop policy if exists "the auth functions see the rows of the users they act for" on auth.two_factor_auth;
create policy "the auth functions see the rows of the users they act for" on auth.two_factor_auth
    for all to mana_auth
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on auth.two_factor_auth from public;
