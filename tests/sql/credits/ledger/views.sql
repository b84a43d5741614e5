-- credits.ledger_journal, credits.account_totals, credits.usage_stats: the books for people.
begin;
\ir ../../setup.psql
select plan(13);

create table tap.totals_before as select * from credits.account_totals;
grant select on tap.totals_before to public;

select make_users('ada', 'bob');
select give_paid('ada', 30);
select auth.act_as(id_of('ada'));
select credits.use_credits(160, 'chat', 'A question');
select set_clock('2030-01-01 23:59:59Z');
select credits.use_credits(4, 'chat', 'A question');
select credits.use_credits(1, 'draw', 'A picture');
select set_clock('2030-01-02 00:00Z');
select credits.use_credits(2, 'chat', 'A question');
select ledger_is_sound();

-- A reader, without claims
set local role mana_reader;

select results_eq(
    $$ select type::text, app_id, debit_account::text, credit_account::text, amount, balance_after
         from credits.ledger_journal where user_id = id_of('ada') order by created_at, debit_account $$,
    $$ values
    ('bonus',    null,   'signup_grants', 'free',  150::bigint, 150::bigint),
    ('purchase', null,   'sales',         'paid',  30, 180),
    ('usage',    'chat', 'free',          'usage', 150, 20),
    ('usage',    'chat', 'paid',          'usage', 10, 20),
    ('usage',    'chat', 'paid',          'usage', 4, 16),
    ('usage',    'draw', 'paid',          'usage', 1, 15),
    ('bonus',    null,   'daily_grants',  'free',  5, 20),
    ('usage',    'chat', 'free',          'usage', 2, 18) $$,
    'the journal has each entry with its transaction'
);
select is(
    (select count(*) from credits.ledger_journal where user_id in (id_of('ada'), id_of('bob'))), 9::bigint,
    'of every user'
);
select results_eq(
    $$ select user_id, app_id, date, credits_used, transactions
         from credits.usage_stats where user_id in (id_of('ada'), id_of('bob')) order by date, app_id $$,
    $$ values
    (id_of('ada'), 'chat', '2030-01-01'::date, 164::bigint, 2::bigint),
    (id_of('ada'), 'draw', '2030-01-01', 1, 1),
    (id_of('ada'), 'chat', '2030-01-02', 2, 1) $$,
    'usage is counted by user, app and day'
);
set local timezone = 'America/New_York';
select is(
    (select max(date) from credits.usage_stats where user_id = id_of('ada')), '2030-01-02', 'days are those of UTC'
);
set local timezone = 'UTC';
select results_eq(
    $$ select t.account::text, t.total - coalesce(b.total, 0), t.entries - coalesce(b.entries, 0)
         from credits.account_totals as t
         left join totals_before as b on b.account = t.account
        where t.entries <> coalesce(b.entries, 0)
        order by t.account $$,
    $$ values
    ('free',          153::bigint, 5::bigint),
    ('paid',           15, 4),
    ('signup_grants', -300, 2),
    ('daily_grants',   -5, 1),
    ('sales',         -30, 1),
    ('usage',         167, 5) $$,
    'each account has the sum of its entries'
);
select is((select sum(total) from credits.account_totals), 0::numeric, 'and all of them add up to zero');

select throws_ok(
    'select 1 from credits.transactions', '42501', 'permission denied for table transactions',
    'a reader does not reach the tables behind them'
);
select throws_ok(
    'select 1 from auth.users', '42501', 'permission denied for schema auth', 'nor who the users are'
);

-- The owner
set local role mana_owner;
select throws_ok(
    'select 1 from credits.ledger_journal', '42501', 'permission denied for view ledger_journal',
    'the owner of the tables reads the books as little as their rows'
);

reset role;


-- No personal data

select set_eq(
    $$ select attrelid::regclass || '.' || attname from pg_attribute
        where attrelid in (
                  'credits.ledger_journal'::regclass, 'credits.account_totals'::regclass,
                  'credits.usage_stats'::regclass
              )
          and atttypid in ('text'::regtype, 'varchar'::regtype, 'jsonb'::regtype, 'json'::regtype) $$,
    array['credits.ledger_journal.app_id', 'credits.usage_stats.app_id'],
    'the only text in them is the app''s name'
);


-- What no view shows

reset role;
select set_eq(
    $$ select a.attrelid::regclass::text, a.attname::text
         from pg_attribute as a
        where a.attnum > 0
          and a.attrelid in (
              'credits.ledger_journal'::regclass, 'credits.account_totals'::regclass, 'credits.usage_stats'::regclass
          )
          and a.atttypid in ('text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype, 'bytea'::regtype) $$,
    $$ values ('credits.ledger_journal', 'app_id'), ('credits.usage_stats', 'app_id') $$,
    'the only text in the views is the app'
);
select set_eq(
    $$ select c.oid::regclass::text
         from pg_class as c
        where c.relnamespace in (select oid from our_schemas) and c.relkind in ('r', 'p', 'v', 'm')
          and has_any_column_privilege('mana_reader', c.oid, 'select') $$,
    $$ values ('credits.ledger_journal'), ('credits.account_totals'), ('credits.usage_stats') $$,
    'and a reader sees nothing else'
);

select * from finish();
rollback;
