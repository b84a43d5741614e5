-- What the functions that work for many users at once take, as arrays.
set local lock_timeout = '1s';

set local role mana_owner;

-- Credits to be moved between a user and counter_account; see credits.post_movements.
create type credits.movement as (
    user_id         uuid,
    type            credits.transaction_type,
    counter_account credits.account,
    free            bigint,
    paid            bigint,
    description     text,
    app_id          text,
    metadata        jsonb,
    idempotency_key text,
    grant_window    int,
    at              timestamptz
);

-- Credits to be spent by a user; see credits.spend. found_version is the balance's version before a
-- grant that the same call paid, null when it paid none.
create type credits.spending as (
    user_id          uuid,
    amount           bigint,
    app_id           text,
    description      text,
    idempotency_key  text,
    metadata         jsonb,
    expected_version bigint,
    found_version    bigint
);

reset role;
