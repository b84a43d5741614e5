-- credits.adjust
begin;
\ir ../../setup.psql
select plan(29);

update credits.settings set daily_free_credits = 0;
select make_users('ada');

select refused_ok(
    $$ select credits.adjust('grace', 1, 'goodwill', 'a-1') $$, 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user nothing is adjusted'
);
select auth.act_as(id_of('ada'));

create function tap.parts(p_receipt credits.receipt) returns bigint[] language sql as $$
    select array[(p_receipt).amount, (p_receipt).free_credits_remaining, (p_receipt).balance]
$$;


-- What moves

select id as gift, parts(a) = array[100, 150, 100]::bigint[] as added
  from credits.adjust('grace', 100, 'goodwill', 'a-1', p_note => 'For the trouble') as a \gset
select ok(:'added', 'credits are paid ones unless it says otherwise');
select is(parts(credits.adjust('grace', 5, 'promotion', 'a-2', 'free')), array[5, 155, 100]::bigint[], 'or free ones');
select is(parts(credits.adjust('grace', -30, 'correction', 'a-3')), array[-30, 155, 70]::bigint[], 'what is taken is of one pool');
select is(parts(credits.adjust('grace', -155, 'fraud', 'a-4', 'free')), array[-155, 0, 70]::bigint[], 'or of the other');
select is(
    (select (t.type, t.status, t.app_id, t.description, t.metadata, t.idempotency_key)::text from credits.transactions as t where id = :'gift'),
    '(adjustment,completed,,Adjustment,,)', 'it is an adjustment, without its reason'
);
select is(
    (select (cause, reverses, reason, note, actor, approved_by)::text from credits.causes where transaction_id = :'gift'),
    '(adjustment:a-1,,goodwill,"For the trouble",grace,)', 'why and by whom is written down'
);


-- No debt

select refused_ok(
    $$ select credits.adjust('grace', -71, 'fraud', 'a-5') $$, 'PT402', 'insufficient_credits',
    'Insufficient credits: 71 required, 70 available.', 'more than there is cannot be taken'
);
select refused_ok(
    $$ select credits.adjust('grace', -1, 'fraud', 'a-5', 'free') $$, 'PT402', 'insufficient_credits',
    'Insufficient credits: 1 required, 0 available.', 'nor out of another pool'
);
update credits.balances set held = 50 where user_id = id_of('ada');
select refused_ok(
    $$ select credits.adjust('grace', -21, 'fraud', 'a-5') $$, 'PT402', 'insufficient_credits',
    'Insufficient credits: 21 required, 20 available.', 'nor what is held'
);
update credits.balances set held = 0 where user_id = id_of('ada');


-- Retries

select is(
    (select (id = :'gift', amount, replayed)::text from credits.adjust('alan', 100, 'goodwill', 'a-1', p_note => 'For the trouble')),
    '(t,100,t)', 'a retry gets the first receipt, whoever tries again'
);
select refused_ok(
    format('select credits.adjust(%L, %s, %L, %L, %L, %L)', 'grace', r.amount, r.reason, 'a-1', r.pool, r.note),
    'PT422', 'idempotency_key_reused', 'This idempotency key was used for another request.', 'another ' || r.what || ' is another request'
)
  from (values
      ('amount', 101, 'goodwill', 'paid', 'For the trouble'), ('reason', 100, 'other', 'paid', 'For the trouble'),
      ('pool', 100, 'goodwill', 'free', 'For the trouble'), ('note', 100, 'goodwill', 'paid', null)
  ) as r (what, amount, reason, pool, note);


-- Much

select is((credits.adjust('grace', 10000, 'migration', 'b-1')).amount, 10000::bigint, 'one administrator may decide up to 10,000');
select refused_ok(
    format($$ select credits.adjust('grace', %s, 'migration', 'b-2') $$, amount), 'PT403', 'approval_required',
    'A second administrator has to approve more than 10000 credits.', format('but not %s', amount)
)
  from unnest(array[10001, -10001]) as amount;
select is(
    (select amount from credits.adjust('grace', 10001, 'migration', 'b-2', p_approved_by => 'alan')), 10001::bigint,
    'a second one approves more'
);
select is(
    (select (actor, approved_by)::text from credits.causes where cause = 'adjustment:b-2'), '(grace,alan)',
    'and is written down as well'
);
select refused_ok(
    $$ select credits.adjust('grace', 10001, 'migration', 'b-3', p_approved_by => 'grace') $$, 'PT400', 'invalid_request',
    'approved_by: must be another administrator.', 'nobody approves of themselves'
);


-- Requests that are not valid

select refused_ok(format('select credits.adjust(%s)', w.arguments), 'PT400', 'invalid_request', w.detail, w.arguments)
  from (values
      ($$ 'grace', 0, 'other', 'c' $$, 'amount: must be a whole number from -1000000000 to 1000000000, and not 0.'),
      ($$ 'grace', -9223372036854775808, 'other', 'c' $$, 'amount: must be a whole number from -1000000000 to 1000000000, and not 0.'),
      ($$ 'grace', 1000000001, 'other', 'c' $$, 'amount: must be a whole number from -1000000000 to 1000000000, and not 0.'),
      ($$ 'grace', 1, 'other', 'c', 'usage' $$, 'pool: must be free or paid.'),
      ($$ 'grace', 1, 'whim', 'c' $$, 'reason: must be one of goodwill, correction, promotion, fraud, migration, other.'),
      ($$ null, 1, 'other', 'c' $$, 'actor: must have 1 to 255 characters, and a visible one.'),
      ($$ 'grace', 1, 'other', null $$, 'idempotency_key: must have 1 to 255 characters.')
  ) as w (arguments, detail);
select ledger_is_sound();

select * from finish();
rollback;
