set local lock_timeout = '1s';

alter table credits.packages drop constraint packages_price_is_bounded;
alter table credits.purchases drop constraint purchases_payment_intent_is_bounded;
alter table credits.transactions
    drop constraint transactions_app_id_is_plain,
    drop constraint transactions_metadata_is_bounded;
