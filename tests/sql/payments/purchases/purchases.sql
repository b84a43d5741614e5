-- payments.*: a purchase from its start to its end, as the gateway, the provider's news and the worker move it.
begin;
\ir ../../setup.psql
select plan(61);

select make_users('ada', 'bob');

insert into credits.packages values
    ('00000000-0000-7000-8000-000000000001', 'Small', null, 1000, 900, 'price_small', true, 1, base.clock(), base.clock()),
    ('00000000-0000-7000-8000-000000000002', 'Gone', null, 1000, 900, null, false, 2, base.clock(), base.clock());

create table tap.started (name text primary key, checkout payments.checkout);
create table tap.looks (n int generated always as identity);

-- Starts a purchase as the gateway does.
create function tap.start(p_name text, p_key text default null, p_package text default '1', p_currency text default null)
returns payments.checkout
language plpgsql
security definer
set search_path = tap
as $$
begin
    perform come_as(p_name);
    return payments.start_purchase(
        ('00000000-0000-7000-8000-00000000000' || p_package)::uuid, p_currency, 'https://app.example/done', null, p_key, false
    );
end
$$;

create function tap.begin_purchase(p_label text, p_name text)
returns void
language sql
as $$
    insert into tap.started values (p_label, tap.start(p_name))
$$;

create function tap.checkout_of(p_label text)
returns payments.checkout
language sql
as $$
    select checkout from tap.started where name = p_label
$$;

-- What the provider says, unless told otherwise, of the payment of one with this label.
create function tap.seen(p_label text, p_more jsonb default '{}')
returns jsonb
language sql
as $$
    select (jsonb_build_object(
        'session_id', 'cs_' || p_label, 'session_status', 'complete', 'payment_status', 'paid',
        'intent_id', 'pi_' || p_label, 'intent_status', 'succeeded', 'charge_id', 'ch_' || p_label,
        'amount_subtotal', 900, 'amount_total', 900, 'currency', 'eur', 'livemode', false,
        'refunded', 0, 'disputed', 0
    ) || p_more)::jsonb
$$;

-- An event of the provider about this purchase.
create function tap.news(
    p_id text, p_label text, p_snapshot jsonb, p_type text default 'checkout.session.completed', p_named boolean default true
)
returns text
language sql
as $$
    select payments.receive_event(
               p_id, 'main', p_type, '2025-01-01', base.clock(), sha256(p_id::bytea),
               array['cs_' || p_label, 'pi_' || p_label],
               case when p_named then (c).deployment end, case when p_named then (c).user_id end,
               case when p_named then (c).purchase_id end, p_snapshot
           )
      from tap.checkout_of(p_label) as c
$$;

-- What a worker finds that looks now.
create function tap.look(p_label text, p_snapshot jsonb)
returns text
language sql
as $$
    select (payments.apply_snapshot((c).user_id, (c).purchase_id, t.dirty_seq, p_snapshot)).status::text
      from tap.checkout_of(p_label) as c
      join payments.tasks as t on t.purchase_id = (c).purchase_id
$$;

create function tap.look_again(p_label text, p_snapshot jsonb)
returns text
language sql
as $$
    update payments.tasks set dirty_seq = dirty_seq + 1 where purchase_id = (tap.checkout_of(p_label)).purchase_id;
    select tap.look(p_label, p_snapshot)
$$;

-- The paid part of somebody's balance.
create function tap.paid(p_name text)
returns bigint
language sql
security definer
as $$
    select balance from credits.balances where user_id = tap.id_of(p_name)
$$;

create function tap.status_of(p_label text)
returns text
language sql
security definer
as $$
    select status::text from credits.purchases where id = (tap.checkout_of(p_label)).purchase_id
$$;


-- Starting

select refused_ok(
    $$ select payments.start_purchase(gen_random_uuid(), null, null, null, null, false) $$,
    'PT401', 'authentication_required', 'This transaction has no user: call auth.act_as() in it first.',
    'nobody starts a purchase without a user'
);
select begin_purchase('first', 'ada');
select is(
    (select row((c).status::text, (c).credits, (c).amount, (c).currency, (c).title, (c).stripe_price_id, (c).replayed)::text
       from checkout_of('first') as c),
    '(pending,1000,900,eur,Small,price_small,f)',
    'a purchase is open, with what is to be paid for it'
);
select is((start('ada', 'a key')).purchase_id, (start('ada', 'a key')).purchase_id, 'the same key is the same purchase');
select is((start('ada', 'a key')).replayed, true, 'and says so');
select isnt((start('bob', 'a key')).purchase_id, (start('ada', 'a key')).purchase_id, 'a key is one user''s');
select refused_ok(
    $$ select start('ada', 'a key', '2') $$, 'PT422', 'idempotency_key_reused',
    'This idempotency key was used for another request.', 'the same key with another package is refused'
);
select refused_ok(
    $$ select start('ada', null, '2') $$, 'PT404', 'not_found', 'There is no such package for sale.',
    'a package that is not for sale cannot be bought'
);
select refused_ok(
    $$ select start('ada', null, '1', 'jpy') $$, 'PT400', 'invalid_request',
    'currency: this package has no price in it.', 'a package without a price in a currency cannot be bought in it'
);
select refused_ok(
    $$ select start('ada', null, '1', 'euros') $$, 'PT400', 'invalid_request',
    'currency: must be a code of three letters.', 'a currency that cannot be is refused'
);
select refused_ok(
    $$ select start('ada', '') $$, 'PT400', 'invalid_request',
    'idempotency_key: must have 1 to 255 characters.', 'an empty key is refused'
);
select come_as('bob');
select refused_ok(
    $$ select payments.get_purchase((checkout_of('first')).purchase_id) $$, 'PT404', 'not_found',
    'There is nothing here.', 'another user''s purchase is not there'
);
select payments.note_checkout((c).user_id, (c).purchase_id, 'cus_ada', 'cs_first') from checkout_of('first') as c;
select come_as('ada');
select is(
    (select row((c).customer_id, (c).session_id)::text
       from payments.get_purchase((checkout_of('first')).purchase_id) as c),
    '(cus_ada,cs_first)', 'what the provider answers is written down'
);


-- A payment

select is(news('evt_1', 'first', seen('first')), 'booked', 'news of a payment is booked at once');
select is(paid('ada'), 1000::bigint, 'the credits are there');
select is(status_of('first'), 'completed', 'the purchase is completed');
select is(news('evt_1', 'first', seen('first')), 'repeated', 'the same event again is known');
select is(news('evt_2', 'first', seen('first')), 'booked', 'another event of the same payment is accepted');
select is(paid('ada'), 1000::bigint, 'and adds nothing');
select is(look('first', seen('first')), 'completed', 'a look says the same');
select is(look_again('first', seen('first', '{"payment_status": "unpaid", "session_status": "open"}')), 'completed',
          'paid is never taken back by what is not about refunds');
select is(paid('ada'), 1000::bigint, 'nor are its credits');
select ledger_is_sound();

select begin_purchase('other amount', 'ada');
select is(news('evt_3', 'other amount', seen('other amount', '{"amount_subtotal": 1}')), 'booked',
          'news of a payment of another amount is accepted');
select is(paid('ada'), 1000::bigint, 'but credits nothing');
select is((select review from payments.orders where purchase_id = (checkout_of('other amount')).purchase_id),
          'amount_differs', 'and waits for a review');
select is(look_again('other amount', seen('other amount', '{"currency": "usd"}')), 'pending', 'so does another currency');
select is(look_again('other amount', seen('other amount', '{"livemode": true}')), 'pending', 'and another mode');
select is(look_again('other amount', seen('other amount')), 'completed', 'what agrees in the end is booked');
select is(paid('ada'), 2000::bigint, 'with its credits');

select begin_purchase('free of charge', 'bob');
select is(
    look_again('free of charge', seen('free of charge', '{"payment_status": "no_payment_required", "amount_total": 0,
                                                          "intent_id": null, "charge_id": null}')),
    'completed', 'a promotion code may pay for all of it'
);
select is(paid('bob'), 1000::bigint, 'and the credits are there');


-- Other ways to end

select begin_purchase('slow', 'bob');
select is(look_again('slow', seen('slow', '{"payment_status": "unpaid", "intent_status": "processing"}')), 'processing',
          'money on its way is shown');
select is(look_again('slow', seen('slow', '{"payment_status": "unpaid", "session_status": "open"}')), 'processing',
          'a purchase never goes back');
select is(look_again('slow', seen('slow', '{"payment_status": "unpaid", "intent_status": "requires_payment_method"}')),
          'failed', 'money that does not come is a failure');
select is(look_again('slow', seen('slow', '{"payment_status": "unpaid", "session_status": "expired"}')), 'failed',
          'a failure stays one');
select is(look_again('slow', seen('slow')), 'completed', 'until it is paid: paid beats both');
select is(paid('bob'), 2000::bigint, 'with its credits, once');


-- Tickets

select is(
    (select (payments.apply_snapshot((c).user_id, (c).purchase_id, t.applied_seq, seen('slow', '{"refunded": 900}'))).status::text
       from checkout_of('slow') as c join payments.tasks as t on t.purchase_id = (c).purchase_id),
    'completed', 'a look that is not newer than the last one changes nothing'
);
select is(paid('bob'), 2000::bigint, 'and books nothing');


-- Refunds, disputes, debt

select is(look_again('slow', seen('slow', '{"refunded": 300}')), 'completed', 'a part that was refunded');
select is(paid('bob'), 1666::bigint, 'takes the same part of the credits back, rounded up');
select is(look_again('slow', seen('slow', '{"refunded": 0}')), 'completed', 'a refund that failed later');
select is(paid('bob'), 2000::bigint, 'gives them back');
select is(look_again('slow', seen('slow', '{"refunded": 300, "disputed": 900, "dispute": "open"}')), 'refunded',
          'refunded and disputed are never more than was paid');
select is(paid('bob'), 1000::bigint, 'so all of its credits go, and no others');
select refused_ok(
    $$ select start('bob') $$, 'PT409', 'purchases_blocked',
    'A payment is disputed. Until that is settled, nothing can be bought.', 'a dispute blocks new purchases'
);
select is(look_again('slow', seen('slow', '{"disputed": 0, "dispute": "won"}')), 'completed', 'a dispute that is won');
select is(paid('bob'), 2000::bigint, 'gives back');
select is(look_again('free of charge', seen('free of charge', '{"amount_total": 0}')), 'completed',
          'of a purchase that cost nothing, nothing goes back');
select is(paid('bob'), 2000::bigint, 'whatever the formula would make of 0 of 0');

select come_as('bob');
select lives_ok($$ select credits.use_credits(2100, 'app', 'most of it') $$, 'free and paid credits are spent');
select is(look_again('slow', seen('slow', '{"refunded": 900}')), 'refunded', 'what is spent can be reversed, too');
select is(paid('bob'), -950::bigint, 'and makes debt');
select come_as('bob');
select is((select row(_credits.spendable(b), b.balance)::text from credits.balances as b where b.user_id = id_of('bob')), '(0,-950)', 'which can pay for nothing');
select begin_purchase('next', 'bob');
select is(look_again('next', seen('next')), 'completed', 'the next purchase');
select is(paid('bob'), 50::bigint, 'pays it');
select ledger_is_sound();


-- Whose news it is

select is(
    payments.receive_event('evt_f', 'main', 'checkout.session.completed', null, base.clock(), sha256('f'), array['cs_x'],
                           gen_random_uuid(), id_of('ada'), gen_random_uuid(), '{}'),
    'foreign', 'news of another deployment is ignored'
);
select is(
    payments.receive_event('evt_u', 'main', 'charge.refunded', null, base.clock(), sha256('u'), array['ch_x', 'pi_x'],
                           null, null, null, '{}'),
    'unknown', 'so is news of what is not ours'
);
select is(news('evt_r', 'slow', '{}', 'charge.refunded', false), 'noted', 'an object that we know needs no name in it');
select throws_ok(
    $$ select payments.receive_event('evt_n', 'main', 'checkout.session.completed', null, base.clock(), sha256('n'),
                                     array['cs_n'], (select deployment from payments.settings), id_of('ada'),
                                     gen_random_uuid(), '{}') $$,
    'PT503', 'not_visible_yet', 'news of a purchase of ours that is not here is to come again'
);

select * from finish();
rollback;
