alter table auth.refresh_tokens enable row level security;
alter table auth.refresh_tokens force row level security;

drop policy if exists "the auth functions see the rows of the users they act for" on auth.refresh_tokens;
create policy "the auth functions see the rows of the users they act for" on auth.refresh_tokens
    for all to mana_auth
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on auth.refresh_tokens from public;
grant select, insert, delete on auth.refresh_tokens to mana_auth;
grant update (used_at) on auth.refresh_tokens to mana_auth;
