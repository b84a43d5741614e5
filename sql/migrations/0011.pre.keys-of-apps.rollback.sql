-- transactional: false
create unique index concurrently if not exists transactions_one_per_idempotency_key
    on credits.transactions (user_id, idempotency_key) where idempotency_key is not null;
drop index concurrently if exists credits.transactions_one_per_key_of_an_app;
