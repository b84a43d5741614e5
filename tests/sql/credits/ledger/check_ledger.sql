-- credits.check_ledger: up to where each account was sound, and what the short check reads. And
-- credits.read_marks: figures that only grow.
begin;
\ir ../../setup.psql
select plan(19);

select set_clock('2090-01-01 07:00Z');
select make_users('ada', 'bob');
create function tap.spend(p_name text) returns void language sql as $$
    select auth.act_as(id_of(p_name));
    select credits.use_credits(1, 'chat', 'A question');
$$;
create function tap.points() returns setof text language sql as $$
    select p.name || ' ' || c.version || ' ' || (c.checked_at at time zone 'UTC')::date
      from credits.ledger_checks as c
      join people as p on p.user_id = c.user_id
     order by 1
$$;
create function tap.named(p_full boolean) returns setof text language sql as $$
    select distinct p.name from credits.check_ledger(p_full) as f join people as p on p.user_id = f.user_id order by 1
$$;
select spend('ada'), spend('ada'), spend('bob');

-- The point of each account
select is_empty('select * from credits.check_ledger(false)', 'a first short check reads everything, and all is well');
select results_eq('select points()', array['ada 3 2090-01-01', 'bob 2 2090-01-01'], 'each account has its own point');
select is_empty(
    $$ select c.*
         from credits.ledger_checks as c
         left join credits.balances as b on b.user_id = c.user_id
         left join credits.transactions as t on t.user_id = c.user_id and t.id = c.transaction_id
        where c.user_id in (select user_id from people)
          and (c.version, c.balance_after, c.free_after, c.total_spent_after, c.grant_window)
              is distinct from (b.version, b.balance + b.free_credits_remaining, b.free_credits_remaining, b.total_spent, 0)
           or t.version is distinct from c.version $$,
    'it is the last transaction, with what that says'
);
select set_clock('2090-01-01 09:00Z');
select spend('bob');
select set_clock('2090-01-02 06:00Z');
select is_empty('select * from credits.check_ledger(false)', 'a later short check finds nothing');
select results_eq(
    'select points()', array['ada 3 2090-01-01', 'bob 3 2090-01-02'], 'it moves the points of accounts that have moved'
);

-- What is before the point
set local session_replication_role = replica;
update credits.transactions set created_at = created_at - interval '1 day' where user_id = id_of('ada') and version = 2;
select is_empty('select named(false)', 'what has happened to an older row is not read by a short check');
select results_eq('select named(true)', array['ada'], 'and found by a full one');
select results_eq('select points()', array['ada 3 2090-01-01', 'bob 3 2090-01-02'], 'which moves nothing');
update credits.transactions set created_at = created_at + interval '1 day' where user_id = id_of('ada') and version = 2;

-- What comes after it
set local session_replication_role = origin;
select spend('ada'), spend('bob');
set local session_replication_role = replica;
update credits.transactions set total_spent_after = total_spent_after + 1 where user_id = id_of('bob') and version = 4;
select results_eq('select named(false)', array['bob'], 'a new row that is wrong is named');
select results_eq(
    'select points()', array['ada 4 2090-01-02', 'bob 3 2090-01-02'], 'its account keeps its point, and no other does'
);
select results_eq('select named(false)', array['bob'], 'so the next short check names it again');
update credits.transactions set total_spent_after = total_spent_after - 1 where user_id = id_of('bob') and version = 4;
set local session_replication_role = origin;
select is_empty('select * from credits.check_ledger(null)', 'null stands for a full check');

-- Marks
select set_clock('2090-01-02 06:30Z');
select spend('ada');
create view tap.newest as
select user_id, id from credits.transactions where user_id = id_of('ada') order by id desc limit 1;
select results_eq(
    'select users, accounts, movements, earned, spent from credits.read_marks()',
    $$ select (select count(*)::numeric from auth.users), count(*)::numeric,
              (select count(*)::numeric from credits.transactions), sum(total_earned), sum(total_spent)
         from credits.balances $$,
    'the marks count users, accounts and movements, and add up what was earned and spent'
);
select results_eq('select user_id, transaction_id from credits.read_marks()', 'table newest', 'they name the newest movement');
select is(is_there, true, 'without a movement to look for, none is missing') from credits.read_marks();
select is(m.is_there, true, 'one that is there is there')
  from newest as n cross join lateral credits.read_marks(n.user_id, n.id) as m;
select is(m.is_there, false, 'another id of the same user is not')
  from newest as n cross join lateral credits.read_marks(n.user_id, gen_random_uuid()) as m;
select is(m.is_there, false, 'nor is it another user''s')
  from newest as n cross join lateral credits.read_marks(id_of('bob'), n.id) as m;
set local session_replication_role = replica;
delete from credits.ledger_checks;
delete from credits.balances;
select results_eq(
    'select accounts, movements, earned, spent, user_id from credits.read_marks()',
    'values (0::numeric, 0::numeric, 0::numeric, 0::numeric, null::uuid)', 'without accounts they are zero'
);

select * from finish();
rollback;
