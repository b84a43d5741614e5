-- transactional: false
-- An idempotency key belongs to a user and an app. Built while clients go on writing; each statement can be repeated.
drop index concurrently if exists credits.transactions_one_per_key_of_an_app;
create unique index concurrently transactions_one_per_key_of_an_app
    on credits.transactions (user_id, idempotency_key, app_id) nulls not distinct where idempotency_key is not null;
drop index concurrently if exists credits.transactions_one_per_idempotency_key;
