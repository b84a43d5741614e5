-- Doors and insides are schemas of their own: the name of a function shows who may call it. base is what every
-- schema stands on. In _auth and _credits nobody but the owner of their functions has USAGE.
set local lock_timeout = '1s';

create schema base authorization mana_owner;
create schema _auth authorization mana_owner;
create schema _credits authorization mana_owner;

set local role mana_owner;

-- Why something is refused: the HTTP status, a code for programs, and a sentence for people.
create type base.refusal as (status int, code text, detail text);

-- One of those who call at once; see auth.begin_requests. Either user_id or code is null; both are when the
-- call has to be made alone.
create type auth.caller as (user_id uuid, code text);

-- Credits to be spent by a user; see credits.spend_all. place is the caller's own number for it.
create type credits.spend_request as (
    place            int,
    user_id          uuid,
    amount           bigint,
    app_id           text,
    description      text,
    idempotency_key  text,
    metadata         jsonb,
    expected_version bigint
);

-- The reply of every api function. The gateway passes the body on as it is; events are for its metrics.
create type api.reply as (status int, body json, headers json, events text);

reset role;
