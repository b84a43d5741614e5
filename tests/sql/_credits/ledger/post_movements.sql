-- credits.post_movements: what it refuses by itself. What it writes is in the suites of its callers.
begin;
\ir ../../setup.psql
select plan(6);

select make_users('ada', 'bob');

-- One credit to each of these users.
create function tap.gifts(variadic p_user_ids uuid[])
returns bigint
language sql
as $$
    select count(*)
      from _credits.post_movements(array(
               select row(user_id, 'adjustment', 'adjustments', 1, 0, 'A gift', null, null, null, null, null)::credits.movement
                 from unnest(p_user_ids) as user_id
           ))
$$;

select is(gifts(id_of('ada'), id_of('bob')), 2::bigint, 'two users have a movement each');
select ledger_is_sound();

create table tap.before as select user_id, balance, free_credits_remaining, version from credits.balances;
select throws_ok(
    $$ select gifts(id_of('ada'), id_of('ada')) $$, '21000', null, 'two movements of one user are refused'
);
select throws_ok(
    $$ select gifts(id_of('ada'), gen_random_uuid()) $$, '21000', null, 'so is one of a user without a balance'
);
select set_eq(
    'select user_id, balance, free_credits_remaining, version from credits.balances', 'table before',
    'and with it those of all others'
);
select ledger_is_sound();

select * from finish();
rollback;
