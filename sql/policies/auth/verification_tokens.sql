-- No function uses this table yet, so nothing is granted.
alter table auth.verification_tokens enable row level security;
alter table auth.verification_tokens force row level security;

drop policy if exists "the auth functions see the rows of the users they act for" on auth.verification_tokens;
create policy "the auth functions see the rows of the users they act for" on auth.verification_tokens
    for all to mana_auth
    using (user_id = any((select auth.user_ids())::uuid[]))
    with check (user_id = any((select auth.user_ids())::uuid[]));

revoke all on auth.verification_tokens from public;
