-- Which rows the functions lock, as far as one connection can see it: the transaction that locks a
-- row leaves its id in xmax. That they wait for each other is shown with many connections elsewhere.
begin;
\ir ../../setup.psql
select plan(8);

select make_users('ada');

-- Runs a statement on a row that has just been written and is not locked, and returns whether it
-- locked that.
create function tap.locks(p_relation regclass, p_statement text, p_key text default 'user_id')
returns boolean
language plpgsql
as $$
declare
    v_locked boolean;
begin
    set local session_replication_role = replica;
    execute format(
        'with old as (delete from %s where %I = %L returning *) insert into %1$s select * from old',
        p_relation, p_key, id_of('ada')
    );
    set local session_replication_role = origin;
    execute p_statement;
    execute format('select xmax <> 0 from %s where %I = %L', p_relation, p_key, id_of('ada')) into v_locked;
    return v_locked;
end
$$;

select auth.act_as(id_of('ada'));
select credits.use_credits(1, 'chat', 'A question', 'k-1');

select is(locks('credits.balances', format('select _credits.lock_balances(array[%L]::uuid[], true)', id_of('ada'))), true,
    'lock_balances locks the balance');
select is(
    locks('credits.balances', $$ select credits.use_credits(1, 'chat', 'A question', 'k-1') $$), true,
    'a retry locks the balance before it looks for the first request'
);
select is(
    locks('credits.balances', 'select credits.get_balance()'), false, 'reading a balance locks nothing'
);
select set_clock('2029-01-01 00:00Z');
select is(
    locks('credits.balances', 'select credits.get_balance()'), false, 'nor when the clock has gone back'
);
select set_clock('2030-01-01 00:00Z');
select is(
    locks('credits.balances', 'select credits.list_transactions()'), false, 'nor does reading transactions'
);

select auth.refresh_session(id_of('ada'), token_of('ada'), '7 days') \gset
select is(
    locks(
        'auth.sessions',
        format($$ select auth.refresh_session(%L, %L, '7 days') $$, id_of('ada'), token_of('ada'))
    ),
    true, 'a retry of a refresh locks the session before it looks at the token'
);
select is(
    locks(
        'auth.sessions',
        format($$ select auth.begin_request(%L, %L, null) $$, id_of('ada'), claims_of('ada'))
    ),
    false, 'beginning a request locks nothing'
);

select is(
    locks('auth.users', format('select _auth.find_user(%L)', email_of('ada')), p_key => 'id'), true,
    'what administrators do locks the user first'
);

select * from finish();
rollback;
