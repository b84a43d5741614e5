-- credits.balances, credits.transactions, credits.ledger_entries: what they refuse by themselves, from
-- every writer.
begin;
\ir ../../setup.psql
select plan(22);

select make_users('ada', 'bob');
select id as ada_bonus from credits.transactions where user_id = id_of('ada') \gset

-- Tries to write a transaction of ada's, or an entry to her signup bonus, with some fields changed.
create function tap.transaction_like(p_changes jsonb) returns text language sql as $$
    select format(
        'insert into credits.transactions select (jsonb_populate_record(t, %L)).* from credits.transactions as t'
        ' where user_id = %L limit 1',
        '{"type": "usage", "amount": -1, "balance_before": 150, "balance_after": 149, "free_after": 149, "version": 2,
          "total_spent_after": 1, "grant_window": null}'::jsonb
        || jsonb_build_object('id', gen_random_uuid()) || p_changes,
        id_of('ada')
    )
$$;
create function tap.entry_like(p_changes jsonb) returns text language sql as $$
    select format(
        'insert into credits.ledger_entries select (jsonb_populate_record(e, %L)).* from credits.ledger_entries as e'
        ' where user_id = %L limit 1',
        '{"entry_no": 2}'::jsonb || p_changes, id_of('ada')
    )
$$;

select lives_ok(
    $$ update credits.balances set balance = -1 where user_id = id_of('ada') $$,
    'the paid part may be negative, which is debt'
);
select throws_ok(
    $$ update credits.balances set free_credits_remaining = -1 where user_id = id_of('ada') $$, '23514',
    'new row for relation "balances" violates check constraint "balances_free_credits_remaining_check"',
    'the free part is never negative'
);
select throws_ok(
    $$ update credits.balances set held = -1 where user_id = id_of('ada') $$, '23514',
    'new row for relation "balances" violates check constraint "balances_held_check"',
    'nor is what is held'
);
select throws_ok(
    $$ insert into credits.balances (user_id, last_daily_reset_at, created_at, updated_at)
       values (gen_random_uuid(), now(), now(), now()) $$, '23503', null, 'a balance is somebody''s'
);

select lives_ok(transaction_like('{"idempotency_key": "k-1"}'), 'a transaction that is one is taken');
select lives_ok(
    transaction_like('{"type": "refund", "amount": -200, "balance_after": -50, "free_after": 150}'),
    'so is one that ends in debt, where the free part is more than the whole'
);
select throws_ok(transaction_like(changes), sqlstate, null, description)
  from (values
      ('{"amount": 0, "balance_after": 150}'::jsonb, '23514', 'a movement of nothing is refused'),
      ('{"balance_after": 148}', '23514', 'a balance after that is not the sum is refused'),
      ('{"free_after": -1}', '23514', 'a negative free part is refused'),
      ('{"description": ""}', '23514', 'an empty description is refused'),
      ('{"idempotency_key": "k-1"}', '23505', 'a second transaction with the same key is refused'),
      ('{"grant_window": 0}', '23505', 'a second grant in a window is refused'),
      (jsonb_build_object('id', :'ada_bonus'), '23505', 'a second transaction with the same id is refused'),
      (jsonb_build_object('user_id', gen_random_uuid()), '23503', 'a transaction of nobody is refused')
  ) as c (changes, sqlstate, description);
select lives_ok(
    transaction_like(jsonb_build_object('user_id', id_of('bob'), 'idempotency_key', 'k-1')),
    'another user may have the same key'
);

select lives_ok(entry_like('{}'), 'an entry that is one is taken');
select throws_ok(entry_like(changes), sqlstate, null, description)
  from (values
      ('{"amount": 0}'::jsonb, '23514', 'an entry of nothing is refused'),
      ('{"amount": -1}', '23514', 'a negative entry is refused'),
      ('{"entry_no": 3}', '23514', 'a third entry is refused'),
      ('{"debit_account": "paid"}', '23514', 'an entry from the user to the user is refused'),
      ('{"credit_account": "sales"}', '23514', 'an entry from the system to the system is refused'),
      (jsonb_build_object('user_id', id_of('bob')), '23503',
       'an entry of one user to another''s transaction is refused')
  ) as c (changes, sqlstate, description);

select * from finish();
rollback;
