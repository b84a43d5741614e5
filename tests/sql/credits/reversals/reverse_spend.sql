-- credits.reverse_spend, credits.reverse_spend_as, _credits.reverse_spend
begin;
\ir ../../alone.psql
\ir ../../setup.psql
select plan(35);

update credits.settings set daily_free_credits = 0;
select make_users('ada', 'bob');
select give_paid('ada', 100);

create function tap.parts(p_receipt credits.receipt) returns bigint[] language sql as $$
    select array[(p_receipt).amount, (p_receipt).free_credits_remaining, (p_receipt).balance]
$$;

create function tap.spend(p_key text) returns uuid language sql as $$
    select id from credits.find_transaction(p_key)
$$;

set local role mana_backend;


-- Anonymous

select refused_ok(
    $$ select credits.reverse_spend('chat', 'failed', 'r-1', p_spend_key => 's-1') $$, 'PT401', 'authentication_required',
    'This transaction has no user: call auth.act_as() in it first.', 'without a user nothing is given back'
);


-- The owner: 150 free and 100 paid, of which the spend takes 150 and 30

select auth.act_as(id_of('bob'));
select id as of_bob from credits.use_credits(10, 'chat', 'Of another user', 's-1') \gset
select auth.act_as(id_of('ada'));
select id as spend from credits.use_credits(180, 'chat', 'A picture', 's-1') \gset

select is(
    parts(credits.reverse_spend('chat', 'failed', 'r-1', p_spend_key => 's-1', p_amount => 20)), array[20, 0, 90]::bigint[],
    'paid credits go back first, to the paid ones'
);
select is(
    parts(credits.reverse_spend('chat', 'failed', 'r-2', :'spend', p_amount => 15, p_note => 'Half of it')),
    array[15, 5, 100]::bigint[], 'then free ones, to the free ones'
);
select is(
    (select (type, status, app_id, description, metadata, idempotency_key, balance_before, total_spent, replayed)::text
       from credits.reverse_spend('chat', 'goodwill', 'r-3', :'spend', p_amount => 1)),
    '(refund,completed,chat,"Spend reversed",,,105,180,f)', 'it is a refund of the same app, and what was spent stays spent'
);
select is((select total_earned from credits.get_balance()), 286::bigint, 'and what comes back has come in');


-- Retries

select is(
    (select (amount, balance, replayed)::text
       from credits.reverse_spend('chat', 'failed', 'r-1', p_spend_key => 's-1', p_amount => 20)),
    '(20,90,t)', 'a retry gets the first receipt'
);
select is(
    (select (amount, replayed)::text from credits.reverse_spend('chat', 'failed', 'r-1', :'spend', p_amount => 20)),
    '(20,t)', 'by the id of the spend as well'
);
select refused_ok(format('select credits.reverse_spend(%L, %L, %L, %L, p_amount => %s, p_note => %L)', 'chat', r.reason, 'r-2', :'spend', r.amount, r.note),
    'PT422', 'idempotency_key_reused', 'This idempotency key was used for another request.', 'another ' || r.what || ' is another request')
  from (values ('amount', 'failed', 14, 'Half of it'), ('reason', 'other', 15, 'Half of it'), ('note', 'failed', 15, 'A half'))
       as r (what, reason, amount, note);
select refused_ok(
    format($$ select credits.reverse_spend('chat', 'failed', 'r-1', %L) $$, :'spend'), 'PT422', 'idempotency_key_reused',
    'This idempotency key was used for another request.', 'and so is all that was left then'
);


-- No more than was spent

select refused_ok(
    format($$ select credits.reverse_spend('chat', 'failed', 'r-4', %L, p_amount => 145) $$, :'spend'),
    'PT409', 'reversal_exceeds_spend', 'Of this spend 144 credits are left to give back.', 'more than is left is refused'
);
select is(
    parts(credits.reverse_spend('chat', 'failed', 'r-4', :'spend')), array[144, 150, 100]::bigint[],
    'a refused key is free, and without an amount all that is left goes back'
);
select is(
    (select (amount, replayed)::text from credits.reverse_spend('chat', 'failed', 'r-4', :'spend')), '(144,t)',
    'a retry of that is one'
);
select is(
    (select (amount, replayed)::text from credits.reverse_spend('chat', 'failed', 'r-4', :'spend', p_amount => 144)),
    '(144,t)', 'with the amount as well'
);
select refused_ok(
    format($$ select credits.reverse_spend('chat', 'failed', 'r-5', %L) $$, :'spend'),
    'PT409', 'reversal_exceeds_spend', 'Of this spend 0 credits are left to give back.', 'nothing is left then'
);


-- What is no spend of the user in this app

select id as in_draw from credits.use_credits(5, 'draw', 'A drawing', 's-2') \gset
select id as reversal from credits.list_transactions(1, p_type => 'refund') \gset
select id as bonus from credits.list_transactions(1, p_type => 'bonus') \gset
select refused_ok(
    format('select credits.reverse_spend(%L, %L, %L, %L)', 'chat', 'failed', 'r-1', w.id), 'PT404', 'not_found',
    'There is nothing here.', w.what || ' cannot be reversed'
)
  from (values (:'of_bob'::uuid, 'a spend of another user'), (:'in_draw', 'a spend of another app'), (:'reversal', 'a reversal'),
               (:'bonus', 'a grant'), (gen_random_uuid(), 'an unknown transaction')) as w (id, what);
select refused_ok(
    $$ select credits.reverse_spend('chat', 'failed', 'r-1', p_spend_key => 's-2') $$, 'PT404', 'not_found',
    'There is nothing here.', 'a key of another app names nothing'
);


-- Requests that are not valid

select refused_ok(
    format('select credits.reverse_spend(%s)', w.arguments), 'PT400', 'invalid_request', w.detail, w.detail
)
  from (values
      ($$ 'chat', 'failed', 'r' $$, 'transaction_id: either it or spend_key is required.'),
      (format($$ 'chat', 'failed', 'r', %L, 's-1' $$, :'spend'), 'transaction_id: either it or spend_key is required.'),
      ($$ 'chat', 'whim', 'r', p_spend_key => 's-1' $$, 'reason: must be one of failed, duplicate, dispute, goodwill, other.'),
      ($$ 'chat', 'failed', 'r', p_spend_key => 's-1', p_amount => 0 $$, 'amount: must be a whole number from 1 to 1000000000.'),
      ($$ 'chat', 'failed', 'r', p_spend_key => 's-1', p_note => ' ' $$, 'note: must have 1 to 500 characters, and a visible one.'),
      ($$ 'chat', 'failed', null, p_spend_key => 's-1' $$, 'idempotency_key: must have 1 to 255 characters.'),
      ($$ 'chat', 'failed', ' r', p_spend_key => 's-1' $$,
       'idempotency_key: must have visible characters only, with blanks between them.')
  ) as w (arguments, detail);


-- A backend

reset role;
create role tap_draw login in role mana_backend;
select credits.bind_backend('tap_draw', '{draw}');
set local session authorization tap_draw;
select auth.act_as(id_of('ada'));
select refused_ok(
    format($$ select credits.reverse_spend('chat', 'failed', 'r-9', %L) $$, :'spend'), 'PT403', 'app_not_allowed',
    'This backend does not work for this app.', 'a backend reverses for its own apps alone'
);
select id as drawn from credits.reverse_spend('draw', 'duplicate', 'r-1', p_spend_key => 's-2', p_note => 'Twice') \gset
reset session authorization;
select is(
    (select (cause, reverses, reason, note, actor)::text from credits.causes where transaction_id = :'drawn'),
    format('(reversal:%s:r-1,%s,duplicate,Twice,tap_draw)', :'in_draw', :'in_draw'),
    'what, why and by whom is written down; the key may be that of another spend''s reversal'
);


-- An administrator

select auth.act_as(id_of('bob'));
select is(
    (select (amount, app_id)::text from credits.reverse_spend_as('grace', :'of_bob', 'dispute', 'r-1')), '(10,chat)',
    'an administrator reverses a spend of any app'
);
select is((select actor from credits.causes where reverses = :'of_bob'), 'grace', 'under a name');
select refused_ok(
    format($$ select credits.reverse_spend_as('', %L, 'dispute', 'r-2') $$, :'of_bob'), 'PT400', 'invalid_request',
    'actor: must have 1 to 255 characters, and a visible one.', 'that has to be there'
);
select ledger_is_sound();

select * from finish();
rollback;
