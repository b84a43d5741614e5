-- credits.verify_ledger: what is wrong with reversals of spends, each at its row.
begin;
\ir ../../alone.psql
\ir ../../setup.psql
select plan(9);

update credits.settings set daily_free_credits = 0;
select make_users('ada', 'bob');

create function tap.found() returns setof text language sql as $$
    select problem || ': ' || detail from credits.verify_ledger()
$$;

-- A reversal that no function would make.
create function tap.give_back(p_app_id text, p_free bigint, p_paid bigint, p_reverses uuid, p_key text)
returns void
language sql
security definer
as $$
    select _credits.post_for_cause(
        'reversal:' || p_key,
        row(auth.uid(), 'refund', 'usage', p_free, p_paid, 'By hand', p_app_id, null, null, null, null)::credits.movement,
        p_reverses
    )
$$;

select give_paid('ada', 100);
select auth.act_as(id_of('ada'));
select id as spend from credits.use_credits(180, 'chat', 'A picture') \gset
select id as other from credits.use_credits(20, 'chat', 'Another') \gset
select credits.reverse_spend('chat', 'failed', 'r-1', :'spend', p_amount => 40);
select credits.reverse_spend('chat', 'failed', 'r-2', :'spend');
select ledger_is_sound('a spend that was given back in parts is sound');
select id as bonus from credits.list_transactions(1, p_type => 'bonus') \gset

savepoint sound;
select give_back('chat', 1, 0, :'spend', 'x');
select results_eq('select found()', array['reversals_exceed_spend: of the spend, free -1 and paid 0 are left'], 'more than was spent');
select is((select transaction_id from credits.verify_ledger()), :'spend', 'is found at the spend');
rollback to sound;

select give_back('chat', 1, 0, :'other', 'x');
select results_eq('select found()', array['reversals_exceed_spend: of the spend, free -1 and paid 20 are left'], 'another pool than it came from');
rollback to sound;

select give_back('draw', 0, 1, :'other', 'x');
select results_eq('select found()', array['reversal_without_spend: refund of 1 in app draw'], 'another app than it came from');
rollback to sound;

select give_back('chat', 0, 1, null, 'x');
select results_eq('select found()', array['reversal_without_spend: refund of 1 in app chat'], 'of nothing');
rollback to sound;

select give_back('chat', 0, 1, :'bonus', 'x');
select set_eq(
    'select found()',
    array['reversal_without_spend: refund of 1 in app chat', 'reversals_exceed_spend: of the spend, free 0 and paid -1 are left'],
    'of what was no spend'
);
rollback to sound;

-- A check of what is new sees old spends as well.

select count(*) from credits.check_ledger(p_full => true);
select give_back('chat', 0, 21, :'other', 'x');
select results_eq(
    'select problem from credits.check_ledger(p_full => false)', array['reversals_exceed_spend'], 'a short check finds it, too'
);
rollback to sound;

delete from credits.causes where reverses = :'spend';
select set_eq(
    'select problem from credits.verify_ledger()', array['cause_is_missing', 'reversal_without_spend'], 'a reversal without a cause'
);

select * from finish();
rollback;
