-- The daily grant: 5 credits in each 24-hour window since the account's creation, paid by whatever
-- touches the balance first (credits.lock_balance, credits.get_balance, credits.grant_window).
begin;
\ir ../../setup.psql
select plan(50);

select make_users('ada', 'bob', 'cleo', 'dora', 'emil', 'fay', 'gus', 'hal');

-- Reads the balance of a person at a moment: free credits, and when the next ones are due.
create function tap.read_at(p_name text, p_at timestamptz)
returns text
language plpgsql
as $$
begin
    perform tap.set_clock(p_at), auth.act_as(tap.id_of(p_name));
    return (
        select format('%s, next %s', free_credits_remaining, next_daily_credits_at at time zone 'UTC')
          from credits.get_balance()
    );
end
$$;

create function tap.grants_of(p_name text)
returns table (grant_window int, created_at timestamptz, type text, amount bigint, description text, entry text)
language sql
security definer
as $$
    select t.grant_window, t.created_at, t.type::text, t.amount, t.description,
           e.amount || ' from ' || e.debit_account || ' to ' || e.credit_account
      from credits.transactions as t
      join credits.ledger_entries as e on (e.user_id, e.transaction_id) = (t.user_id, t.id)
     where t.user_id = tap.id_of(p_name) and t.grant_window > 0
     order by t.id
$$;


-- Which window a moment is in

select is(credits.grant_window('2030-01-01 00:00Z', at), n, description)
  from (values
      ('2030-01-01 00:00Z'::timestamptz,      0, 'an account is born in window 0'),
      ('2030-01-01 23:59:59.999999Z',         0, 'a window lasts to its last microsecond'),
      ('2030-01-02 00:00Z',                   1, 'the next begins 24 hours after the first'),
      ('2040-01-01 00:00Z',                3652, 'ten years are 3652 windows'),
      ('2029-12-31 23:59:59.999999Z',        -1, 'before the birth there is no window to pay')
  ) as c (at, n, description);

set local timezone = 'Europe/Berlin';
select is(
    credits.grant_window('2030-03-30 12:00', '2030-03-31 12:30'), 0,
    'a window is 24 hours, also on the day that has only 23'
);
set local timezone = 'UTC';


-- The owner reads

set local role mana_backend;
select is(
    read_at('ada', '2030-01-01 23:59:59.999999Z'), '150, next 2030-01-02 00:00:00',
    'no grant in the first 24 hours, which have the signup bonus'
);
select is(
    read_at('ada', '2030-01-02 00:00Z'), '155, next 2030-01-03 00:00:00', 'a grant at the edge of the second window'
);
select is(read_at('ada', '2030-01-02 00:00Z'), '155, next 2030-01-03 00:00:00', 'and not a second time at that moment');
select is(
    read_at('ada', '2030-01-02 23:59:59.999999Z'), '155, next 2030-01-03 00:00:00', 'nor to the end of that window'
);
select is(
    read_at('ada', '2030-01-06 18:00Z'), '160, next 2030-01-07 00:00:00', 'windows that were missed are not paid later'
);
select is(
    read_at('ada', '2030-01-07 00:00Z'), '165, next 2030-01-08 00:00:00',
    'a late grant does not move the windows: the next comes at its edge'
);
select results_eq(
    $$ select * from grants_of('ada') $$,
    $$ values
    (1, '2030-01-02 00:00Z'::timestamptz, 'bonus', 5::bigint, 'Daily credits', '5 from daily_grants to free'),
    (5, '2030-01-06 18:00Z'::timestamptz, 'bonus', 5::bigint, 'Daily credits', '5 from daily_grants to free'),
    (6, '2030-01-07 00:00Z'::timestamptz, 'bonus', 5::bigint, 'Daily credits', '5 from daily_grants to free') $$,
    'each grant is a transaction with its window and an entry in the books'
);
reset role;
select is(
    (select (last_daily_reset_at, total_earned, version)::text from credits.balances where user_id = id_of('ada')),
    '("2030-01-07 00:00:00+00",165,4)', 'the balance row says when the window began'
);
select ledger_is_sound();


-- The clock goes back

set local role mana_backend;
select is(
    read_at('ada', '2030-01-06 12:00Z'), '165, next 2030-01-08 00:00:00', 'no grant for a window that has passed'
);
select is(read_at('ada', '2029-01-01 00:00Z'), '165, next 2030-01-08 00:00:00', 'nor before the account was born');
select auth.act_as(id_of('ada'));
select is(
    (select (amount, created_at)::text from credits.use_credits(1, 'chat', 'A question')),
    '(-1,"2030-01-07 00:00:00.000001+00")', 'a spend is still later than the movement before it'
);
select is(
    read_at('ada', '2030-01-07 12:00Z'), '164, next 2030-01-08 00:00:00', 'nor a second one when the time comes again'
);
select ledger_is_sound();


-- A transaction that may only read

savepoint read_only;
select set_clock('2030-01-08 00:00Z');
set local transaction_read_only = on;
select credits.get_balance() as balance \gset read_only_
rollback to savepoint read_only;
select is(
    :'read_only_balance'::text, '(0,164,165,1,5,"2030-01-08 00:00:00+00",5)',
    'a grant that is due is not paid, and the balance is shown as it is'
);
select is(
    read_at('ada', '2030-01-08 00:00Z'), '169, next 2030-01-09 00:00:00', 'the next that may write pays it'
);


-- The clock stands still at the edge

-- Each movement is a microsecond later than the one before: it is its own time that counts.
select auth.act_as(id_of('hal'));
select set_clock('2030-01-01 23:59:59.999998Z');
select count(*) from credits.use_credits(1, 'chat', 'A question') \gset
select count(*) from credits.use_credits(1, 'chat', 'A question') \gset
select is((select count(*) from grants_of('hal')), 0::bigint, 'a spend at the last microsecond is paid no grant');
select count(*) from credits.use_credits(1, 'chat', 'A question') \gset
select is(
    (select created_at from grants_of('hal')), '2030-01-02 00:00Z', 'the next, which is in the next window, is'
);
select ledger_is_sound();


-- The owner spends

select set_clock('2030-01-02 00:00Z');
select auth.act_as(id_of('bob'));
select is(
    (select (balance_before, balance_after, version)::text
       from credits.use_credits(155, 'chat', 'All of it', p_expected_version => 1)),
    '(155,0,3)', 'a spend is paid its grant first, which is no conflict with the version that was seen before'
);
select is((select count(*) from grants_of('bob')), 1::bigint, 'the grant is a transaction of its own');
select refused_ok(
    $$ select credits.use_credits(1, 'chat', 'A question', p_expected_version => 2) $$,
    'PT409', 'version_conflict', 'The balance has changed. Read it again and decide again.',
    'the version that the grant made was seen by nobody'
);
select set_clock('2030-01-03 00:00Z');
select refused_ok(
    $$ select credits.use_credits(6, 'chat', 'Too much') $$,
    'PT402', 'insufficient_credits', 'Insufficient credits: 6 required, 5 available.',
    'a spend is refused when the grant does not cover it'
);
select is((select count(*) from grants_of('bob')), 1::bigint, 'with the refusal goes the grant');
select is(read_at('bob', '2030-01-03 00:00Z'), '5, next 2030-01-04 00:00:00', 'which the next to come is paid');
select is((select count(*) from grants_of('bob')), 2::bigint, 'once');
select ledger_is_sound();

-- A retry in a new window
select auth.act_as(id_of('cleo'));
select set_clock('2030-01-01 12:00Z');
select credits.use_credits(150, 'chat', 'All of it', 'k-1');
select set_clock('2030-01-02 12:00Z');
select is(
    (select (balance_after, version, replayed)::text from credits.use_credits(150, 'chat', 'All of it', 'k-1')),
    '(0,2,t)', 'a retry in the next window gets the first receipt'
);
select is(read_at('cleo', '2030-01-02 12:00Z'), '5, next 2030-01-03 00:00:00', 'and there is one grant');
select ledger_is_sound();


-- The settings change

reset role;
select credits.configure(p_daily_free_credits => 0);
set local role mana_backend;
select is(read_at('dora', '2030-01-02 00:00Z'), '150, next 2030-01-03 00:00:00', 'an amount of 0 pays nothing');
select is((select count(*) from grants_of('dora')), 0::bigint, 'and writes no transaction');
reset role;
select is(
    (select (last_daily_reset_at, version)::text from credits.balances where user_id = id_of('dora')),
    '("2030-01-02 00:00:00+00",1)', 'but the window has begun'
);
select credits.configure(p_daily_free_credits => 20);
set local role mana_backend;
select is(
    read_at('dora', '2030-01-02 12:00Z'), '150, next 2030-01-03 00:00:00',
    'a new amount does not open a window that has begun'
);
select is(read_at('dora', '2030-01-03 00:00Z'), '170, next 2030-01-04 00:00:00', 'and counts from the next one on');
select is(read_at('emil', '2030-01-03 00:00Z'), '170, next 2030-01-04 00:00:00', 'also for who has not come before');
select auth.act_as(id_of('emil'));
select is(
    (select daily_free_credits from credits.get_balance()), 20::bigint, 'the balance says how many there will be'
);
select ledger_is_sound();
reset role;
select credits.configure(p_daily_free_credits => 5);


-- Free and paid

select give_paid('fay', 100);
set local role mana_backend;
select read_at('fay', '2030-01-02 00:00Z') \gset
select is(
    (select (balance, free_credits_remaining, total_earned, total_spent)::text from credits.get_balance()),
    '(100,155,255,0)', 'a grant goes to the free part'
);
select ledger_is_sound();


-- At the last moment of a window

-- The clock ticks while a grant is being paid: what began in one window ends in the next.
reset role;
create sequence tap.ticks;
grant usage on sequence tap.ticks to public;
create or replace function base.clock() returns timestamptz language sql volatile as $$
    select '2030-01-02 23:59:59.999997Z'::timestamptz + nextval('tap.ticks') * interval '1 microsecond'
$$;
set local role mana_backend;
select auth.act_as(id_of('gus'));
select is(
    (select free_credits_remaining from credits.get_balance()), 155::bigint,
    'a grant at the last moment of its window is paid'
);
select is((select count(*) from grants_of('gus')), 1::bigint, 'as one transaction');
select ledger_is_sound('the ledger is sound: the grant is dated in the window that it is for');

-- Backstop
reset role;
select throws_ok(
    $$ insert into credits.transactions (
           user_id, id, type, amount, balance_before, balance_after, free_after, total_spent_after, version,
           grant_window, description, created_at
       )
       select user_id, base.uuid_v7(base.clock()), type, amount, balance_before, balance_after, free_after,
              total_spent_after, version, grant_window, description, created_at
         from credits.transactions
        where user_id = id_of('gus') and grant_window = 1 $$,
    '23505', 'duplicate key value violates unique constraint "transactions_one_grant_per_window"',
    'two grants in one window cannot be written'
);

select * from finish();
rollback;
