-- What a row may hold at most, also if another function than _credits.spend wrote it. Rows of before may
-- hold more and stay as they are, so nothing here is validated.
set local lock_timeout = '1s';

set local role mana_owner;

alter table credits.transactions
    add constraint transactions_metadata_is_bounded
    check (jsonb_typeof(metadata) = 'object' and octet_length(metadata::text) <= 4096) not valid,
    add constraint transactions_app_id_is_plain
    check (app_id collate "C" ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$') not valid;

alter table credits.purchases
    add constraint purchases_payment_intent_is_bounded
    check (length(stripe_payment_intent_id) between 1 and 255) not valid;

alter table credits.packages
    add constraint packages_price_is_bounded
    check (length(stripe_price_id) between 1 and 255) not valid;

reset role;
