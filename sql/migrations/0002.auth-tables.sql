set local lock_timeout = '1s';

set local role mana_owner;

create type auth.user_role as enum ('user', 'admin', 'service');

-- A person. E-mail addresses are kept in lower case, so that one address is one user.
create table auth.users (
    id             uuid primary key,
    email          text not null unique
                   check (email = lower(email) and length(email) between 3 and 254 and position('@' in email) > 1),
    name           text check (length(name) between 1 and 255),
    role           auth.user_role not null default 'user',
    email_verified boolean not null default false,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    disabled_at    timestamptz,
    deleted_at     timestamptz
);

-- A login on one device. refresh_secret derives each refresh token from the one before it;
-- without a token in hand it is worth nothing.
create table auth.sessions (
    user_id          uuid not null references auth.users (id),
    id               uuid not null,
    device_id        text check (length(device_id) between 1 and 255),
    device_name      text check (length(device_name) between 1 and 255),
    ip_address       inet,
    user_agent       text,
    refresh_secret   bytea not null check (length(refresh_secret) = 32),
    created_at       timestamptz not null,
    last_activity_at timestamptz not null,
    expires_at       timestamptz not null,
    revoked_at       timestamptz,
    primary key (user_id, id)
);

-- Only the SHA-256 of a refresh token is kept. Used ones stay until they expire: a used token
-- that comes back is how a theft is seen.
create table auth.refresh_tokens (
    user_id    uuid not null,
    hash       bytea not null check (length(hash) = 32),
    session_id uuid not null,
    issued_at  timestamptz not null,
    expires_at timestamptz not null,
    used_at    timestamptz,
    primary key (user_id, hash),
    foreign key (user_id, session_id) references auth.sessions (user_id, id) on delete cascade
);

create index refresh_tokens_by_session on auth.refresh_tokens (user_id, session_id);

-- bcrypt of a keyed digest that the gateway makes: the password itself never gets here.
create table auth.passwords (
    user_id    uuid primary key references auth.users (id),
    hash       text not null check (hash like '$2_$__$%' and length(hash) = 60),
    updated_at timestamptz not null
);

-- A user's identity at an outside provider.
create table auth.accounts (
    user_id     uuid not null references auth.users (id),
    provider_id text not null check (length(provider_id) between 1 and 100),
    account_id  text not null check (length(account_id) between 1 and 255),
    created_at  timestamptz not null,
    primary key (user_id, provider_id, account_id),
    unique (provider_id, account_id)
);

-- One-time tokens sent by mail; only their SHA-256 is kept.
create table auth.verification_tokens (
    user_id    uuid not null references auth.users (id),
    hash       bytea not null check (length(hash) = 32),
    purpose    text not null check (length(purpose) between 1 and 100),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at    timestamptz,
    primary key (user_id, hash)
);

-- secret_encrypted is sealed by the gateway's key; backup codes are kept as SHA-256.
create table auth.two_factor_auth (
    user_id            uuid primary key references auth.users (id),
    secret_encrypted   bytea not null,
    backup_code_hashes bytea[] not null default '{}',
    enabled_at         timestamptz,
    created_at         timestamptz not null
);

-- What happened to an account. Nobody is granted UPDATE or DELETE.
create table auth.security_events (
    user_id    uuid not null references auth.users (id),
    id         uuid not null,
    event_type text not null check (length(event_type) between 1 and 100),
    session_id uuid,
    ip_address inet,
    user_agent text,
    request_id text,
    created_at timestamptz not null,
    primary key (user_id, id)
);

-- What a login or a refresh hands to the gateway.
create type auth.session_grant as (
    user_id       uuid,
    email         text,
    name          text,
    role          auth.user_role,
    session_id    uuid,
    device_id     text,
    refresh_token text
);

reset role;
