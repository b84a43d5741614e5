set local lock_timeout = '1s';

set local role mana_owner;

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
