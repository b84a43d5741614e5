-- Holds nothing of a user. A role that can read the key can make a seal for anybody.
alter table auth.seal_key enable row level security;
alter table auth.seal_key force row level security;

drop policy if exists "the auth functions read the key" on auth.seal_key;
create policy "the auth functions read the key" on auth.seal_key
    for select to mana_auth
    using (true);

revoke all on auth.seal_key from public;
grant select on auth.seal_key to mana_auth;
