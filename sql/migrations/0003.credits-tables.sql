set local lock_timeout = '1s';

set local role mana_owner;

create type credits.transaction_type as enum ('purchase', 'usage', 'refund', 'bonus', 'expiry', 'adjustment');

create type credits.transaction_status as enum ('pending', 'completed', 'failed', 'cancelled');

create type credits.purchase_status as enum ('pending', 'completed', 'failed', 'refunded');

-- Where credits are: with the user (free, paid) or with the system (all others). What a system
-- account holds is the sum of its entries; there is no row that everybody would have to lock.
create type credits.account as enum (
    'free', 'paid',
    'signup_grants', 'daily_grants', 'sales', 'usage', 'adjustments', 'refunds', 'expiry'
);

-- One row, for operators to change through credits.configure().
create table credits.settings (
    id                 boolean primary key default true check (id),
    signup_bonus       bigint not null check (signup_bonus between 0 and 1000000000),
    daily_free_credits bigint not null check (daily_free_credits between 0 and 1000000000),
    updated_at         timestamptz not null
);

insert into credits.settings (signup_bonus, daily_free_credits, updated_at) values (150, 5, now());

-- What a user may spend. Every money function locks this row before it looks at anything else.
-- balance is the paid part, free_credits_remaining the other one. created_at is the account's
-- birth, from which the 24-hour windows of the daily grant are counted. No column that changes
-- is indexed and pages keep room, so that an update stays on its page.
create table credits.balances (
    user_id                uuid primary key references auth.users (id),
    balance                bigint not null default 0 check (balance >= 0),
    free_credits_remaining bigint not null default 0 check (free_credits_remaining >= 0),
    total_earned           bigint not null default 0 check (total_earned >= 0),
    total_spent            bigint not null default 0 check (total_spent >= 0),
    version                bigint not null default 0 check (version >= 0),
    last_daily_reset_at    timestamptz not null,
    created_at             timestamptz not null,
    updated_at             timestamptz not null
) with (fillfactor = 50);

-- What the user sees: one row a movement, in the order of its id. version, free_after and
-- total_spent_after say what the balance row was right after it, so that a retry gets the first
-- answer again and the chain of rows can be checked. grant_window makes a second grant in one
-- window impossible: 0 is the signup bonus, then the 24-hour windows.
create table credits.transactions (
    user_id           uuid not null references credits.balances (user_id),
    id                uuid not null,
    type              credits.transaction_type not null,
    status            credits.transaction_status not null default 'completed',
    amount            bigint not null check (amount <> 0),
    balance_before    bigint not null check (balance_before >= 0),
    balance_after     bigint not null check (balance_after >= 0),
    free_after        bigint not null check (free_after >= 0),
    total_spent_after bigint not null check (total_spent_after >= 0),
    version           bigint not null check (version > 0),
    grant_window      int check (grant_window >= 0),
    app_id            text check (length(app_id) between 1 and 100),
    description       text not null check (length(description) between 1 and 500),
    metadata          jsonb,
    idempotency_key   text check (length(idempotency_key) between 1 and 255),
    created_at        timestamptz not null,
    completed_at      timestamptz,
    primary key (user_id, id),
    check (balance_after = balance_before + amount),
    check (free_after <= balance_after)
);

create unique index transactions_one_per_idempotency_key
    on credits.transactions (user_id, idempotency_key) where idempotency_key is not null;

create unique index transactions_one_grant_per_window
    on credits.transactions (user_id, grant_window) where grant_window is not null;

-- The books. An entry takes an amount from one account (debit) and gives it to another
-- (credit), so they balance by construction. Nobody is granted UPDATE, DELETE or TRUNCATE.
create table credits.ledger_entries (
    user_id        uuid not null,
    transaction_id uuid not null,
    entry_no       smallint not null check (entry_no in (1, 2)),
    debit_account  credits.account not null,
    credit_account credits.account not null,
    amount         bigint not null check (amount > 0),
    primary key (user_id, transaction_id, entry_no),
    foreign key (user_id, transaction_id) references credits.transactions (user_id, id),
    check ((debit_account in ('free', 'paid')) <> (credit_account in ('free', 'paid')))
);

-- What is for sale. Prices are integer euro cents.
create table credits.packages (
    id               uuid primary key,
    name             text not null unique check (length(name) between 1 and 100),
    description      text check (length(description) between 1 and 500),
    credits          bigint not null check (credits between 1 and 1000000000),
    price_euro_cents int not null check (price_euro_cents > 0),
    stripe_price_id  text unique,
    active           boolean not null default true,
    sort_order       int not null default 0,
    created_at       timestamptz not null,
    updated_at       timestamptz not null
);

create table credits.purchases (
    user_id                  uuid not null references credits.balances (user_id),
    id                       uuid not null,
    package_id               uuid references credits.packages (id),
    credits                  bigint not null check (credits > 0),
    price_euro_cents         int not null check (price_euro_cents > 0),
    stripe_payment_intent_id text,
    status                   credits.purchase_status not null default 'pending',
    created_at               timestamptz not null,
    completed_at             timestamptz,
    primary key (user_id, id),
    unique (user_id, stripe_payment_intent_id)
);

-- A movement as its callers get it: the transaction, the balance right after it, and whether
-- this is the answer to a retry. balance is the paid part, as in credits.balances.
create type credits.receipt as (
    id                     uuid,
    user_id                uuid,
    type                   credits.transaction_type,
    status                 credits.transaction_status,
    amount                 bigint,
    balance_before         bigint,
    balance_after          bigint,
    app_id                 text,
    description            text,
    metadata               jsonb,
    idempotency_key        text,
    created_at             timestamptz,
    completed_at           timestamptz,
    balance                bigint,
    free_credits_remaining bigint,
    total_spent            bigint,
    version                bigint,
    replayed               boolean
);

create type credits.balance_summary as (
    balance                bigint,
    free_credits_remaining bigint,
    total_earned           bigint,
    total_spent            bigint,
    daily_free_credits     bigint,
    next_daily_credits_at  timestamptz,
    version                bigint
);

reset role;
