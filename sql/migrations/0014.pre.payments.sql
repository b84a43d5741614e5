-- Money in: purchases that a provider of payments takes the money for, what is reversed, and what is held.
set local lock_timeout = '1s';

do $$
declare
    v_role text;
    v_set  constant text := case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end;
begin
    foreach v_role in array array['mana_payments', 'mana_worker'] loop
        begin
            execute format('create role %I %s', v_role, case v_role when 'mana_worker' then 'login' else 'nologin' end);
        exception
            when duplicate_object or unique_violation then null;  -- roles are the cluster's: another database has made it
        end;
    end loop;
    -- A non-superuser administrator has to be a member to hand objects over.
    if not (pg_has_role(current_user, 'mana_payments', 'usage') and pg_has_role(current_user, 'mana_payments', v_set)) then
        grant mana_payments to current_user;
    end if;
end
$$;

create schema payments authorization mana_owner;
create schema _payments authorization mana_owner;

set local role mana_owner;

-- What reversals take back beyond what is left is debt: the negative part of the paid account. So the paid part
-- of a balance, and its sums, may be below zero. What is reserved for a later spend is held.
alter table credits.balances
    drop constraint balances_balance_check,
    add column held bigint not null default 0 check (held >= 0);
alter table credits.transactions
    drop constraint transactions_balance_before_check,
    drop constraint transactions_balance_after_check,
    drop constraint transactions_check1;

-- Why a movement happened that is neither a spend nor a grant: one cause, one movement. reverses is the transaction
-- that this one takes back, in whole or in part; reason, note and actor are of those who decided it, approved_by
-- of a second one. In a table of
-- its own: a spend writes no row here and keeps no further index.
create table credits.causes (
    user_id        uuid not null,
    cause          text not null check (length(cause) between 1 and 400),
    transaction_id uuid not null,
    reverses       uuid,
    reason         text check (length(reason) between 1 and 100),
    note           text check (length(note) between 1 and 500),
    actor          text check (length(actor) between 1 and 255),
    approved_by    text check (length(approved_by) between 1 and 255 and approved_by <> actor),
    primary key (user_id, cause),
    unique (user_id, transaction_id),
    foreign key (user_id, transaction_id) references credits.transactions (user_id, id),
    foreign key (user_id, reverses) references credits.transactions (user_id, id)
);

create index causes_by_reversed on credits.causes (user_id, reverses) where reverses is not null;

-- A balance as its callers get it. balance is the paid part, which is negative for debt; held is reserved, and
-- spendable is what is left to spend.
create type credits.balance_state as (
    balance                bigint,
    free_credits_remaining bigint,
    held                   bigint,
    spendable              bigint,
    total_earned           bigint,
    total_spent            bigint,
    daily_free_credits     bigint,
    next_daily_credits_at  timestamptz,
    version                bigint
);

-- One row. deployment tells our objects at the provider from those of another deployment on the same account. Users
-- may give unspent credits back themselves within refundable_for.
create table payments.settings (
    id             boolean primary key default true check (id),
    deployment     uuid not null,
    refundable_for interval not null check (refundable_for >= interval '0'),
    updated_at     timestamptz not null
);

insert into payments.settings (deployment, refundable_for, updated_at)
values (gen_random_uuid(), interval '14 days', now());

-- The user at the provider: one customer in each mode. The row is the claim; its customer_id comes later.
create table payments.customers (
    user_id     uuid not null references credits.balances (user_id),
    livemode    boolean not null,
    customer_id text check (length(customer_id) between 1 and 255),
    created_at  timestamptz not null,
    primary key (user_id, livemode)
);

-- What a purchase is at the provider. currency and amount, in minor units, are what was asked for, before discounts
-- and taxes. paid, refunded and disputed are what the provider says, in the same units; disputed has the disputes
-- that are open or lost. review is set when the provider's facts do not fit: then nothing is booked.
create table payments.orders (
    user_id         uuid not null,
    purchase_id     uuid not null,
    package_id      uuid not null,
    credits         bigint not null check (credits > 0),
    livemode        boolean not null,
    currency        text not null check (currency collate "C" ~ '^[a-z]{3}$'),
    amount          bigint not null check (amount between 1 and 99999999),
    title           text not null check (length(title) between 1 and 100),
    stripe_price_id text check (length(stripe_price_id) between 1 and 255),
    success_url     text check (length(success_url) between 1 and 2048),
    cancel_url      text check (length(cancel_url) between 1 and 2048),
    idempotency_key text check (length(idempotency_key) between 1 and 255),
    session_id      text check (length(session_id) between 1 and 255),
    paid            bigint not null default 0 check (paid >= 0),
    refunded        bigint not null default 0 check (refunded >= 0),
    disputed        bigint not null default 0 check (disputed >= 0),
    dispute         text check (dispute in ('inquiry', 'open', 'lost', 'won')),
    receipt_url     text check (length(receipt_url) between 1 and 2048),
    review          text check (length(review) between 1 and 100),
    updated_at      timestamptz not null,
    primary key (user_id, purchase_id),
    foreign key (user_id, purchase_id) references credits.purchases (user_id, id)
);

create unique index orders_one_per_idempotency_key
    on payments.orders (user_id, idempotency_key) where idempotency_key is not null;

-- Refunds that we ask the provider for. The row comes first, and its id is the provider's idempotency key.
create table payments.refunds (
    user_id          uuid not null,
    id               uuid not null,
    purchase_id      uuid not null,
    amount           bigint check (amount > 0),
    reason           text not null check (length(reason) between 1 and 100),
    note             text check (length(note) between 1 and 500),
    actor            text not null check (length(actor) between 1 and 255),
    stripe_refund_id text check (length(stripe_refund_id) between 1 and 255),
    failure          text check (length(failure) between 1 and 255),
    created_at       timestamptz not null,
    primary key (user_id, id),
    foreign key (user_id, purchase_id) references payments.orders (user_id, purchase_id)
);

-- Whose purchase an object of the provider belongs to (a session, a payment intent, a charge).
create table payments.objects (
    id          text primary key check (length(id) between 1 and 255),
    user_id     uuid not null,
    purchase_id uuid not null,
    foreign key (user_id, purchase_id) references payments.orders (user_id, purchase_id)
);

-- Which purchases to look at again. News raises dirty_seq; who looks takes it as a ticket, and what they found is
-- applied only if their ticket is newer than applied_seq. due_at is null when there is nothing to do; a lease moves
-- it on.
create table payments.tasks (
    user_id     uuid not null,
    purchase_id uuid not null,
    dirty_seq   bigint not null default 0,
    applied_seq bigint not null default 0,
    dirty_since timestamptz,
    looked_at   timestamptz,
    due_at      timestamptz,
    attempts    int not null default 0,
    failure     text check (length(failure) between 1 and 255),
    primary key (user_id, purchase_id),
    foreign key (user_id, purchase_id) references payments.orders (user_id, purchase_id)
) with (fillfactor = 70);

create index tasks_by_due_at on payments.tasks (due_at) where due_at is not null;

-- The inbox: what the provider has told us, for the record and for "seen". Written in the transaction of its effect.
-- Payloads are not kept.
create table payments.events (
    id          text not null check (length(id) between 1 and 255),
    endpoint    text not null check (length(endpoint) between 1 and 100),
    type        text not null check (length(type) between 1 and 255),
    api_version text check (length(api_version) between 1 and 100),
    livemode    boolean not null,
    object_id   text check (length(object_id) between 1 and 255),
    amount      bigint,
    currency    text check (length(currency) between 1 and 10),
    digest      bytea not null check (length(digest) = 32),
    outcome     text not null check (length(outcome) between 1 and 100),
    created_at  timestamptz not null,
    received_at timestamptz not null,
    primary key (id, endpoint)
);

create index events_by_received_at on payments.events using brin (received_at);

-- What the provider is to be asked for, or what has become of it; see payments.start_purchase.
create type payments.checkout as (
    user_id                  uuid,
    purchase_id              uuid,
    deployment               uuid,
    livemode                 boolean,
    status                   credits.purchase_status,
    package_id               uuid,
    credits                  bigint,
    price_euro_cents         int,
    currency                 text,
    amount                   bigint,
    paid                     bigint,
    refunded                 bigint,
    disputed                 bigint,
    title                    text,
    stripe_price_id          text,
    customer_id              text,
    session_id               text,
    stripe_payment_intent_id text,
    success_url              text,
    cancel_url               text,
    receipt_url              text,
    created_at               timestamptz,
    completed_at             timestamptz,
    replayed                 boolean
);

-- What the provider says of a purchase now; see payments.apply_snapshot.
create type payments.snapshot as (
    session_id      text,
    session_status  text,
    payment_status  text,
    intent_id       text,
    intent_status   text,
    charge_id       text,
    amount_subtotal bigint,
    amount_total    bigint,
    currency        text,
    livemode        boolean,
    refunded        bigint,
    disputed        bigint,
    dispute         text,
    receipt_url     text
);

reset role;
