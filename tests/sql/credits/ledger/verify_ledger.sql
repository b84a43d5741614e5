-- credits.verify_ledger: each kind of corruption by its name, at the row that it is in. Constraints
-- and foreign keys are out of the way here, as on the day that it is for.
begin;
\ir ../../alone.psql
\ir ../../setup.psql

do $$
declare
    v_statement text;
begin
    for v_statement in
        select format('alter table %s drop constraint %I', conrelid::regclass, conname)
          from pg_constraint
         where connamespace = 'credits'::regnamespace and contype in ('c', 'f')
           and conrelid in (
               'credits.balances'::regclass, 'credits.transactions'::regclass, 'credits.ledger_entries'::regclass,
               'credits.causes'::regclass
           )
    loop
        execute v_statement;
    end loop;
end
$$;
drop index credits.transactions_one_per_key_of_an_app, credits.transactions_one_grant_per_window;

select plan(40);

select make_users(
    'ada', 'balance', 'free', 'totals', 'version', 'negative', 'debt', 'no_balance', 'no_entries', 'amount', 'foreign',
    'orphan',
    'sum', 'chain', 'gone', 'key', 'window', 'late', 'inner', 'after', 'spent', 'nothing', 'robbed', 'robber', 'skipped',
    'held', 'reversed', 'overdrawn', 'lent', 'returned', 'nameless', 'free_refund', 'other_way', 'uncaused'
);

-- Everybody has the signup bonus, has bought 30 and spent 160 in two parts, with a key.
do $$
declare
    v_name text;
begin
    for v_name in select name from tap.people loop
        perform tap.give_paid(v_name, 30);
        perform auth.act_as(tap.id_of(v_name)), credits.use_credits(160, 'chat', 'A question', 'k-1');
    end loop;
end
$$;

create function tap.last_of(p_name text) returns uuid language sql as $$
    select id from credits.transactions where user_id = id_of(p_name) order by id desc limit 1
$$;

create function tap.found_for(p_name text) returns setof text language sql as $$
    select problem
           || case when transaction_id = last_of(p_name) then ' (the last)'
                   when transaction_id is not null then ' (another)'
                   else '' end
           || ': ' || detail
      from credits.verify_ledger()
     where user_id = id_of(p_name)
$$;

create function tap.found_ok(p_name text, p_expected text[], p_description text) returns text language sql as $$
    select set_eq(format('select * from found_for(%L)', p_name), p_expected, p_description)
$$;

-- A sound database

select ledger_is_sound();
set local role mana_reader;
select is_empty('select * from credits.verify_ledger()', 'a reader without claims may verify, too');
reset role;


update credits.settings set signup_bonus = 0;
select make_users('buyer');
select give_paid('buyer', 10);
select found_ok('buyer', '{}', 'nor is anything found for who has never had a free credit');
select make_users('empty');
select found_ok('empty', '{}', 'or no credit at all');


-- Balances

update credits.balances set balance = 2, total_earned = 2, version = 1 where user_id = id_of('empty');
select found_ok(
    'empty',
    array[
        'balance_differs_from_ledger: free 0, paid 2, changed 2030-01-01 00:00:00+00;'
        ' the last transaction says free 0, paid 0, 2030-01-01 00:00:00+00',
        'totals_differ_from_transactions: earned 2, spent 0, version 1; the last transaction says 0, 0, 0'
    ],
    'a balance without any entry'
);

update credits.balances set balance = balance + 1 where user_id = id_of('balance');
select found_ok(
    'balance', array[
        'balance_differs_from_ledger: free 0, paid 21, changed 2030-01-01 00:00:00.000003+00;'
        ' the last transaction says free 0, paid 20, 2030-01-01 00:00:00.000003+00'
    ],
    'a balance off by one'
);

update credits.balances set balance = balance - 1, free_credits_remaining = 1 where user_id = id_of('free');
select found_ok(
    'free', array[
        'balance_differs_from_ledger: free 1, paid 19, changed 2030-01-01 00:00:00.000003+00;'
        ' the last transaction says free 0, paid 20, 2030-01-01 00:00:00.000003+00'
    ],
    'a credit in the wrong part'
);

update credits.balances set total_spent = 159 where user_id = id_of('totals');
select found_ok(
    'totals',
    array['totals_differ_from_transactions: earned 180, spent 159, version 3; the last transaction says 180, 160, 3'],
    'totals that are not the sums'
);

update credits.balances set version = 4 where user_id = id_of('version');
select found_ok(
    'version',
    array['totals_differ_from_transactions: earned 180, spent 160, version 4; the last transaction says 180, 160, 3'],
    'a version without a transaction'
);

update credits.balances set balance = 30, free_credits_remaining = -10 where user_id = id_of('negative');
select found_ok(
    'negative',
    array[
        'negative_balance: free -10, held 0',
        'balance_differs_from_ledger: free -10, paid 30, changed 2030-01-01 00:00:00.000003+00;'
        ' the last transaction says free 0, paid 20, 2030-01-01 00:00:00.000003+00'
    ],
    'a negative free part'
);

update credits.balances set balance = -10, free_credits_remaining = 30 where user_id = id_of('debt');
select found_ok(
    'debt',
    array[
        'balance_differs_from_ledger: free 30, paid -10, changed 2030-01-01 00:00:00.000003+00;'
        ' the last transaction says free 0, paid 20, 2030-01-01 00:00:00.000003+00'
    ],
    'a negative paid part is debt, and has to be in the ledger'
);

update credits.balances set held = 5 where user_id = id_of('held');
select found_ok('held', '{}', 'what is held is no movement');
update credits.balances set held = -5 where user_id = id_of('held');
select found_ok('held', array['negative_balance: free 0, held -5'], 'less than nothing held');

delete from credits.balances where user_id = id_of('no_balance');
select found_ok(
    'no_balance',
    array[
        'user_without_account: the user has no balance row',
        'transaction_without_balance (another): the user has no balance row',
        'transaction_without_balance (the last): the user has no balance row'
    ],
    'a balance that is gone'
);


-- Entries

delete from credits.ledger_entries where user_id = id_of('no_entries') and transaction_id = last_of('no_entries');
select found_ok(
    'no_entries',
    array[
        'transaction_without_entries (the last): amount -160',
        'running_totals_are_not_the_sums (the last): free 0, spent 160;'
        ' the one before had free 150, spent 0, and the entries say free 0'
    ],
    'a transaction without entries'
);

delete from credits.ledger_entries
 where user_id = id_of('amount') and transaction_id = last_of('amount') and entry_no = 2;
select found_ok(
    'amount',
    array[
        'entries_differ_from_amount (the last): amount -160; entries say -150'
    ],
    'an entry that is missing'
);

update credits.ledger_entries
   set user_id = id_of('ada')
 where user_id = id_of('foreign') and transaction_id = last_of('foreign') and entry_no = 2;
select is(
    (select array_agg(problem || ': ' || detail order by problem)
       from credits.verify_ledger() where user_id = id_of('ada') and problem like 'entry%'),
    array[format('entry_without_transaction: the transaction is user %s''s', id_of('foreign'))],
    'an entry to a foreign user''s transaction'
);
select found_ok(
    'ada',
    array[
        format('entry_without_transaction (another): the transaction is user %s''s', id_of('foreign'))
    ],
    'it is missed by the one and found with the other'
);

insert into credits.ledger_entries
values (id_of('orphan'), gen_random_uuid(), 2, 'sales', 'paid', 5);
select found_ok(
    'orphan',
    array[
        'entry_without_transaction (another): there is no such transaction'
    ],
    'an entry to no transaction'
);

insert into credits.ledger_entries
values (id_of('inner'), last_of('inner'), 3, 'usage', 'sales', 5);
select isnt_empty(
    $$ select * from found_for('inner') $$, 'an entry from the system to the system, which is no user''s'
);

update credits.ledger_entries as e
   set user_id = id_of('robber')
  from credits.transactions as t
 where (t.user_id, t.id) = (e.user_id, e.transaction_id) and t.user_id = id_of('robbed') and t.type = 'purchase';
select is(
    (select array_agg(f) from found_for('robbed') as f where f like 'transaction%'),
    array['transaction_without_entries (another): amount 30'], 'a transaction whose only entry is another user''s'
);

insert into credits.ledger_entries
values (id_of('nothing'), last_of('nothing'), 3, 'free', 'usage', 0);
select found_ok(
    'nothing', array['entry_is_not_valid (the last): entry 3: 0 from free to usage'], 'an entry of 0'
);


-- Transactions

update credits.transactions
   set balance_after = 19, free_after = 0
 where user_id = id_of('sum') and id = last_of('sum');
select found_ok(
    'sum',
    array[
        'balance_after_is_not_the_sum (the last): 180 and -160 make 19',
        'balance_differs_from_ledger: free 0, paid 20, changed 2030-01-01 00:00:00.000003+00;'
        ' the last transaction says free 0, paid 19, 2030-01-01 00:00:00.000003+00',
        'totals_differ_from_transactions: earned 180, spent 160, version 3; the last transaction says 179, 160, 3'
    ],
    'a balance after that is not the sum'
);

update credits.transactions
   set balance_before = 179, balance_after = 19
 where user_id = id_of('chain') and id = last_of('chain');
select found_ok(
    'chain',
    array[
        'chain_is_broken (the last): starts at 179, version 3; the one before ended at 180, version 2',
        'balance_differs_from_ledger: free 0, paid 20, changed 2030-01-01 00:00:00.000003+00;'
        ' the last transaction says free 0, paid 19, 2030-01-01 00:00:00.000003+00',
        'totals_differ_from_transactions: earned 180, spent 160, version 3; the last transaction says 179, 160, 3'
    ],
    'a balance before that is not the balance after of the one before'
);

-- The first of three has version 1: now the second has 5, and the third is as far from it as before.
update credits.transactions
   set version = version + 3
 where user_id = id_of('skipped') and version > 1;
update credits.balances set version = version + 3 where user_id = id_of('skipped');
select found_ok(
    'skipped',
    array['chain_is_broken (another): starts at 150, version 5; the one before ended at 150, version 1'],
    'versions that do not follow each other'
);

with removed as (
    delete from credits.transactions where user_id = id_of('gone') and type = 'purchase' returning *
)
delete from credits.ledger_entries as e using removed as r where (e.user_id, e.transaction_id) = (r.user_id, r.id);
select found_ok(
    'gone',
    array[
        'chain_is_broken (the last): starts at 180, version 3; the one before ended at 150, version 1'
    ],
    'a transaction that is gone with its entries'
);

update credits.transactions set idempotency_key = 'k-1', app_id = 'chat'
 where user_id = id_of('key') and type in ('purchase', 'usage');
select found_ok('key', array['idempotency_key_twice: 2 transactions of one app have one key'], 'a key that was used twice');

update credits.transactions set grant_window = 0 where user_id = id_of('window') and type = 'purchase';
select found_ok(
    'window',
    array[
        'grant_twice_in_a_window (another): window 0; the grant before it is for window 0',
        'type_differs_from_entries (another): purchase of 30 with sales, window 0'
    ],
    'two grants in one window'
);

update credits.transactions set grant_window = 1 where user_id = id_of('late') and type = 'bonus';
select found_ok(
    'late',
    array[
        'grant_outside_its_window (another): window 1, created 2030-01-01 00:00:00.000001+00',
        'type_differs_from_entries (another): bonus of 150 with signup_grants, window 1',
        'daily_reset_differs_from_grants: last reset 2030-01-01 00:00:00+00;'
        ' the account is of 2030-01-01 00:00:00+00 and its last grant of window 1'
    ],
    'a grant outside of its window'
);

-- Reversals and debt
select move('reversed', 'refund', 'refunds', 0, -50), give_paid('reversed', 10);
select found_ok('reversed', '{}', 'nothing is found for debt that a reversal makes, and that is paid in part');
select auth.act_as(id_of('returned')), move('returned', 'refund', 'refunds', 0, -20), move('returned', 'refund', 'refunds', 0, 20);
select found_ok('returned', '{}', 'or for a reversal that is taken back');

select move('overdrawn', 'expiry', 'expiry', 0, -50);
select found_ok(
    'overdrawn', array['debt_without_reversal (the last): amount -50'], 'debt that something else has made'
);
select move('lent', 'refund', 'refunds', 0, -50), move('lent', 'adjustment', 'adjustments', 0, -1);
select found_ok('lent', array['debt_without_reversal (the last): amount -1'], 'or has made larger');

select move('nameless', 'refund', 'usage', 10, 5);
select found_ok(
    'nameless',
    array['reversal_without_spend (the last): refund of 15 in app ',
          'type_differs_from_entries (the last): refund of 15 with usage'],
    'a usage that is given back to no app'
);
update credits.transactions set app_id = 'chat' where user_id = id_of('nameless') and id = last_of('nameless');
select found_ok(
    'nameless', array['reversal_without_spend (the last): refund of 15 in app chat'],
    'or by an app, and of no spend'
);
select move('other_way', 'refund', 'usage', 0, -5);
update credits.transactions set app_id = 'chat' where user_id = id_of('other_way') and id = last_of('other_way');
select found_ok(
    'other_way',
    array['reversal_without_spend (the last): refund of -5 in app chat',
          'type_differs_from_entries (the last): refund of -5 with usage'],
    'a usage that is given back the other way round'
);
select move('free_refund', 'refund', 'refunds', 5, 0);
select found_ok(
    'free_refund', array['type_differs_from_entries (the last): refund of 5 with refunds'],
    'a reversal of a purchase that moves free credits'
);
delete from credits.causes where user_id = id_of('uncaused');
select found_ok(
    'uncaused', array['cause_is_missing (another): purchase of 30'], 'a purchase that nobody knows the cause of'
);

-- What a retry is answered from
update credits.transactions set free_after = 10 where user_id = id_of('after') and id = last_of('after');
select isnt_empty($$ select * from found_for('after') $$, 'a free part after that is not what the entries say');

update credits.transactions set total_spent_after = 159 where user_id = id_of('spent') and id = last_of('spent');
select isnt_empty($$ select * from found_for('spent') $$, 'a total after that is not the sum');

select * from finish();
rollback;
