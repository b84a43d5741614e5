set local lock_timeout = '1s';

set local role mana_owner;

create type api.response as (status int, body json, headers json);

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
