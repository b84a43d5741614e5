-- Who may do what, from the catalog, against what is written here. A table, a view, a function or
-- a grant that is missing here fails the suite, and so does one that is only here.
begin;
\ir ../setup.psql
select plan(9);

create function tap.letters(p_role text, p_relation oid)
returns text
language sql
as $$
    select coalesce(string_agg(p.letter, '' order by p.position), '')
      from (values
          (1, 'r', 'select'), (2, 'a', 'insert'), (3, 'w', 'update'), (4, 'd', 'delete'), (5, 'D', 'truncate')
      ) as p (position, letter, privilege)
     where has_table_privilege(p_role, p_relation, p.privilege)
$$;

-- r SELECT, a INSERT, w UPDATE, d DELETE, D TRUNCATE on the whole table. What an owner has by
-- being it is not all of it usable: row-level security is forced (catalog/rows.sql).
select set_eq(
    $$
    select c.oid::regclass::text,
           letters('mana_owner', c.oid) as owner, letters('mana_auth', c.oid) as auth,
           letters('mana_ledger', c.oid) as ledger, letters('mana_payments', c.oid) as payments,
           letters('mana_auditor', c.oid) as auditor, letters('mana_api', c.oid) as api,
           letters('mana_gateway', c.oid) as gateway, letters('mana_worker', c.oid) as worker,
           letters('mana_backend', c.oid) as backend, letters('mana_reader', c.oid) as reader,
           letters('public', c.oid) as public
      from pg_class as c
     where c.relnamespace in (select oid from our_schemas)
       and c.relkind in ('r', 'p', 'v', 'm', 'f')
    $$,
    $$
    values
    --                           owner    auth   ledger payments auditor  api   gateway worker backend reader public
    ('auth.accounts',            'rawdD', '',    '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.passwords',           'rawdD', 'ra',  '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.refresh_tokens',      'rawdD', 'rad', '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.seal_key',            'rawdD', 'r',   '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.security_events',     'rawdD', 'ra',  '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.sessions',            'rawdD', 'rad', '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.two_factor_auth',     'rawdD', '',    '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.users',               'rawdD', 'ra',  '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('auth.verification_tokens', 'rawdD', '',    '',    '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.backend_apps',     'rawdD', '',    'rad', '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.balances',         'rawdD', '',    'ra',  '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.causes',           'rawdD', '',    'ra',  '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.ledger_checks',    'rawdD', '',    '',    '',      'ra',    '',   '',     '',    '',     '',    ''),
    ('credits.ledger_entries',   'ra',    '',    'ra',  '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.package_metadata', 'rawdD', '',    'ra',  '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.packages',         'rawdD', '',    'ra',  '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.purchases',        'rawdD', '',    'ra',  '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.settings',         'rawdD', '',    'r',   '',      '',      '',   '',     '',    '',     '',    ''),
    ('credits.transactions',     'raw',   '',    'ra',  '',      '',      '',   '',     '',    '',     '',    ''),
    ('payments.customers',       'rawdD', '',    '',    'ra',    '',      '',   '',     '',    '',     '',    ''),
    ('payments.events',          'rawdD', '',    '',    'ra',    '',      '',   '',     '',    '',     '',    ''),
    ('payments.objects',         'rawdD', '',    '',    'ra',    '',      '',   '',     '',    '',     '',    ''),
    ('payments.orders',          'rawdD', '',    '',    'ra',    '',      '',   '',     '',    '',     '',    ''),
    ('payments.refunds',         'rawdD', '',    '',    'ra',    '',      '',   '',     '',    '',     '',    ''),
    ('payments.settings',        'rawdD', '',    '',    'r',     '',      '',   '',     '',    '',     '',    ''),
    ('payments.tasks',           'rawdD', '',    '',    'ra',    '',      '',   '',     '',    '',     '',    ''),
    ('credits.account_totals',   '',      '',    '',    '',      'rawdD', '',   '',     '',    '',     'r',   ''),
    ('credits.ledger_journal',   '',      '',    '',    '',      'rawdD', '',   '',     '',    '',     'r',   ''),
    ('credits.usage_stats',      '',      '',    '',    '',      'rawdD', '',   '',     '',    '',     'r',   '')
    $$,
    'each role holds exactly its privileges on each table and view'
);

select set_eq(
    $$
    select a.attrelid::regclass::text, coalesce(r.rolname::text, 'public') as role,
           lower(g.privilege_type) as privilege,
           string_agg(a.attname, ' ' order by a.attname) as columns
      from pg_attribute as a
      join pg_class as c on c.oid = a.attrelid
     cross join lateral aclexplode(a.attacl) as g
      left join pg_roles as r on r.oid = g.grantee
     where c.relnamespace in (select oid from our_schemas)
     group by 1, 2, 3
    $$,
    $$
    values
    ('auth.refresh_tokens',    'mana_auth',    'update', 'used_at'),
    ('auth.sessions',          'mana_auth',    'update', 'expires_at last_activity_at revoked_at'),
    ('auth.users',             'mana_auth',    'update', 'disabled_at role updated_at'),
    ('credits.balances',       'mana_ledger',  'update',
     'balance free_credits_remaining held last_daily_reset_at total_earned total_spent updated_at version'),
    ('credits.packages',       'mana_ledger',  'update', 'active price_euro_cents stripe_price_id updated_at'),
    ('credits.purchases',      'mana_ledger',  'update', 'completed_at status stripe_payment_intent_id'),
    ('credits.settings',       'mana_ledger',  'update', 'daily_free_credits signup_bonus updated_at'),
    ('credits.balances',       'mana_auditor', 'select',
     'balance created_at free_credits_remaining held last_daily_reset_at total_earned total_spent updated_at '
     'user_id version'),
    ('credits.causes',         'mana_auditor', 'select', 'cause reverses transaction_id user_id'),
    ('credits.ledger_checks',  'mana_auditor', 'update',
     'balance_after checked_at free_after grant_window total_spent_after transaction_id version'),
    ('credits.purchases',      'mana_auditor', 'select', 'completed_at created_at credits id status user_id'),
    ('credits.settings',       'mana_auditor', 'select', 'daily_free_credits updated_at'),
    ('payments.orders',        'mana_auditor', 'select',
     'amount currency dispute disputed livemode paid purchase_id refunded review updated_at user_id'),
    ('payments.customers',     'mana_payments', 'update', 'customer_id'),
    ('payments.orders',        'mana_payments', 'update',
     'dispute disputed paid receipt_url refunded review session_id updated_at'),
    ('payments.refunds',       'mana_payments', 'update', 'failure stripe_refund_id'),
    ('payments.settings',      'mana_payments', 'update', 'refundable_for updated_at'),
    ('payments.tasks',         'mana_payments', 'update',
     'applied_seq attempts dirty_seq dirty_since due_at failure looked_at'),
    ('auth.users',             'mana_auditor', 'select', 'id'),
    ('credits.ledger_entries', 'mana_auditor', 'select',
     'amount credit_account debit_account entry_no transaction_id user_id xact_id'),
    ('credits.transactions',   'mana_auditor', 'select',
     'amount app_id balance_after balance_before completed_at created_at free_after grant_window id idempotency_key '
     'status total_spent_after type user_id version')
    $$,
    'each role holds exactly its privileges on single columns'
);

-- Who runs with whose rights, and who may call. The owner may always; these are the others.
select set_eq(
    $$
    select p.oid::regprocedure::text,
           p.proowner::regrole::text as owner,
           case when p.prosecdef then 'definer' else 'invoker' end as rights,
           case p.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end as volatility,
           coalesce((
               select string_agg(replace(r.role, 'mana_', ''), ' ' order by r.role)
                 from unnest(array[
                     'mana_owner', 'mana_auth', 'mana_ledger', 'mana_payments', 'mana_auditor',
                     'mana_api', 'mana_gateway', 'mana_worker', 'mana_backend', 'mana_reader', 'public'
                 ]) as r (role)
                where has_function_privilege(r.role, p.oid, 'execute') and r.role <> p.proowner::regrole::text
           ), '') as callers
      from pg_proc as p
     where p.pronamespace in (select oid from our_schemas)
    $$,
    $$
    values
    ('base.clock()',                                  'mana_owner', 'invoker', 'volatile',  'auditor auth ledger payments'),
    ('base.is_readable(text)',                        'mana_owner', 'invoker', 'immutable', 'auth ledger'),
    ('base.note_event(text,bigint)',                  'mana_owner', 'invoker', 'volatile',  'auth ledger payments'),
    ('base.refusal(text,text)',                       'mana_owner', 'invoker', 'immutable', 'api auth ledger payments'),
    ('base.refuse(text,text)',                        'mana_owner', 'invoker', 'stable',    'api auth ledger payments'),
    ('base.take_notes()',                             'mana_owner', 'invoker', 'volatile',  'api'),
    ('base.is_uuid_v7_of(uuid,timestamp with time zone)', 'mana_owner', 'invoker', 'stable', 'auditor'),
    ('base.uuid_v7(timestamp with time zone)',        'mana_owner', 'invoker', 'volatile',  'auth ledger payments'),
    ('base.visible(text)',                            'mana_owner', 'invoker', 'immutable', 'auth ledger'),

    ('auth.act_as(uuid)',                             'mana_auth', 'definer', 'volatile',  'backend'),
    ('auth.act_for(uuid)',                            'mana_auth', 'definer', 'volatile',  'payments'),
    ('auth.begin_anonymous_request(text)',            'mana_auth', 'invoker', 'volatile',  'api'),
    ('auth.begin_request(uuid,text,text)',            'mana_auth', 'invoker', 'volatile',  'api'),
    ('auth.begin_requests(uuid[],text[],text[])',     'mana_auth', 'definer', 'volatile',  'api'),
    ('auth.log_in(text,text,text,text,interval)',     'mana_auth', 'definer', 'volatile',  'api'),
    ('auth.log_out()',                                'mana_auth', 'definer', 'volatile',  'api'),
    ('auth.log_out_by_refresh_token(uuid,text)',      'mana_auth', 'definer', 'volatile',  'api'),
    ('auth.refresh_session(uuid,text,interval)',      'mana_auth', 'definer', 'volatile',  'api'),
    ('auth.register_user(text,text,text)',            'mana_auth', 'definer', 'volatile',  'api'),
    ('auth.require_user()',                           'mana_auth', 'definer', 'stable',    'ledger payments'),
    ('auth.require_users(uuid[])',                    'mana_auth', 'definer', 'stable',    'ledger'),
    ('auth.role()',                                   'mana_auth', 'invoker', 'stable',    'api backend ledger'),
    ('auth.session_id()',                             'mana_auth', 'invoker', 'stable',    'api backend ledger'),
    ('auth.act_for_email(text)',                      'mana_auth', 'definer', 'volatile',  ''),
    ('auth.set_disabled(text,boolean)',               'mana_auth', 'definer', 'volatile',  ''),
    ('auth.set_role(text,auth.user_role)',            'mana_auth', 'definer', 'volatile',  ''),
    ('auth.uid()',                                    'mana_auth', 'invoker', 'stable',    'api backend ledger payments'),
    ('auth.user_ids()',                               'mana_auth', 'invoker', 'stable',    'api backend ledger payments'),

    ('_auth.assume_users(uuid[],text)',               'mana_auth', 'invoker', 'volatile',  ''),
    ('_auth.create_session(text,text,interval)',      'mana_auth', 'invoker', 'volatile',  ''),
    ('_auth.find_user(text)',                         'mana_auth', 'invoker', 'volatile',  ''),
    ('_auth.hash_token(text)',                        'mana_auth', 'invoker', 'stable',    ''),
    ('_auth.next_refresh_token(uuid,text,bytea)',     'mana_auth', 'invoker', 'stable',    ''),
    ('_auth.password_cost()',                         'mana_auth', 'invoker', 'immutable', ''),
    ('_auth.record_event(text,uuid)',                 'mana_auth', 'invoker', 'volatile',  ''),
    ('_auth.refresh_token_text(uuid,bytea)',          'mana_auth', 'invoker', 'immutable', ''),
    ('_auth.request_context(text)',                   'mana_auth', 'invoker', 'stable',    ''),
    ('_auth.revoke_session(uuid,text)',               'mana_auth', 'invoker', 'volatile',  ''),
    ('_auth.seal()',                                  'mana_auth', 'invoker', 'stable',    ''),
    ('_auth.sealed_user_ids()',                       'mana_auth', 'invoker', 'stable',    ''),
    ('_auth.session_refusal(timestamp with time zone,timestamp with time zone,timestamp with time zone,'
     'timestamp with time zone,auth.user_role,text)', 'mana_auth', 'invoker', 'volatile',  ''),

    ('credits.adjust(text,bigint,text,text,credits.account,text,text)',
                                                      'mana_ledger', 'definer', 'volatile', ''),
    ('credits.add_package(text,bigint,integer,text,text,jsonb,integer)',
                                                      'mana_ledger', 'definer', 'volatile', ''),
    ('credits.advance_purchase(uuid,credits.purchase_status)', 'mana_ledger', 'definer', 'volatile', 'payments'),
    ('credits.bind_backend(name,text[])',             'mana_ledger', 'definer', 'volatile', ''),
    ('credits.change_package(text,integer,text,boolean)', 'mana_ledger', 'definer', 'volatile', ''),
    ('credits.check_ledger(boolean)',                 'mana_auditor', 'definer', 'volatile', ''),
    ('credits.complete_purchase(uuid,text)',          'mana_ledger', 'definer', 'volatile', 'payments'),
    ('credits.configure(bigint,bigint)',              'mana_ledger', 'definer', 'volatile', ''),
    ('credits.find_transaction(text,text)',           'mana_ledger', 'definer', 'stable',   'api backend'),
    ('credits.get_balance()',                         'mana_ledger', 'definer', 'volatile', 'api backend'),
    ('credits.get_balances(uuid[],boolean)',          'mana_ledger', 'definer', 'volatile', 'api'),
    ('credits.get_purchase(uuid)',                    'mana_ledger', 'definer', 'stable',   'backend payments'),
    ('credits.grant_window(timestamp with time zone,timestamp with time zone)',
                                                      'mana_ledger', 'invoker', 'immutable', 'auditor'),
    ('credits.is_unspent(uuid)',                      'mana_ledger', 'definer', 'stable',   'payments'),
    ('credits.list_backends()',                       'mana_ledger', 'definer', 'stable',   ''),
    ('credits.list_packages()',                       'mana_ledger', 'definer', 'stable',   'api backend'),
    ('credits.list_purchases()',                      'mana_ledger', 'definer', 'stable',   'api backend'),
    ('credits.list_transactions(integer,integer,uuid,credits.transaction_type,text)',
                                                      'mana_ledger', 'definer', 'stable',   'api backend'),
    ('credits.lock_account()',                        'mana_ledger', 'definer', 'volatile', 'payments'),
    ('credits.open_purchase(uuid,text)',              'mana_ledger', 'definer', 'volatile', 'payments'),
    ('credits.page_of_transactions(integer,integer,uuid,credits.transaction_type,text,integer)',
                                                      'mana_ledger', 'definer', 'stable',   'api backend'),
    ('credits.metadata_of_package(uuid)',             'mana_ledger', 'definer', 'stable',   'api backend'),
    ('credits.open_account(timestamp with time zone)', 'mana_ledger', 'definer', 'volatile', 'auth'),
    ('credits.reverse_spend(text,text,text,uuid,text,bigint,text)',
                                                      'mana_ledger', 'definer', 'volatile', 'backend'),
    ('credits.reverse_spend_as(text,uuid,text,text,bigint,text)',
                                                      'mana_ledger', 'definer', 'volatile', ''),
    ('credits.reverse_purchase(uuid,bigint)',         'mana_ledger', 'definer', 'volatile', 'payments'),
    ('credits.seed_packages()',                       'mana_ledger', 'definer', 'volatile', ''),
    ('credits.spend_all(credits.spend_request[],boolean)',
                                                      'mana_ledger', 'definer', 'volatile', 'api'),
    ('credits.use_credits(bigint,text,text,text,jsonb,bigint)',
                                                      'mana_ledger', 'definer', 'volatile', 'backend'),
    ('credits.read_marks(uuid,uuid)',                 'mana_auditor', 'definer', 'stable',   ''),
    ('credits.verify_ledger()',                       'mana_auditor', 'definer', 'stable',  'reader'),

    ('_credits.balance_summary(credits.balances,bigint)',
                                                      'mana_ledger', 'invoker', 'stable',   ''),
    ('_credits.bound_apps()',                         'mana_ledger', 'invoker', 'stable',   ''),
    ('_credits.due_window(credits.balances,timestamp with time zone)',
                                                      'mana_ledger', 'invoker', 'stable',   ''),
    ('_credits.is_app_id(text)',                      'mana_ledger', 'invoker', 'immutable', ''),
    ('_credits.is_plain_key(text)',                   'mana_ledger', 'invoker', 'immutable', ''),
    ('_credits.lock_balances(uuid[],boolean)',        'mana_ledger', 'invoker', 'volatile', ''),
    ('_credits.metadata_error(jsonb)',                'mana_ledger', 'invoker', 'immutable', ''),
    ('_credits.decision_error(text,text[],text,text,text)',
                                                      'mana_ledger', 'invoker', 'immutable', ''),
    ('_credits.post_for_cause(text,credits.movement,uuid,text,text,text,text)',
                                                      'mana_ledger', 'invoker', 'volatile', ''),
    ('_credits.reverse_spend(credits.transactions,bigint,text,text,text,text)',
                                                      'mana_ledger', 'invoker', 'volatile', ''),
    ('_credits.find_discrepancies(boolean)',          'mana_auditor', 'invoker', 'stable', ''),
    ('_credits.next_moment(timestamp with time zone,timestamp with time zone)',
                                                      'mana_ledger', 'invoker', 'stable',   'auditor'),
    ('_credits.post_movements(credits.movement[])',   'mana_ledger', 'invoker', 'volatile', ''),
    ('_credits.receipt(credits.transactions,boolean)', 'mana_ledger', 'invoker', 'immutable', ''),
    ('_credits.shown_metadata(jsonb)',                'mana_ledger', 'invoker', 'immutable', ''),
    ('_credits.spend(credits.spend_request[],uuid[])', 'mana_ledger', 'invoker', 'volatile', ''),
    ('_credits.spendable(credits.balances)',          'mana_ledger', 'invoker', 'immutable', ''),

    ('payments.apply_snapshot(uuid,uuid,bigint,jsonb)', 'mana_payments', 'definer', 'volatile', 'api worker'),
    ('payments.backlog()',                            'mana_payments', 'definer', 'stable',   'worker'),
    ('payments.claim_tasks(integer,interval)',        'mana_payments', 'definer', 'volatile', 'worker'),
    ('payments.get_customer(boolean)',                'mana_payments', 'definer', 'stable',   'api'),
    ('payments.get_purchase(uuid)',                   'mana_payments', 'definer', 'stable',   'api'),
    ('payments.note_checkout(uuid,uuid,text,text)',   'mana_payments', 'definer', 'volatile', 'api'),
    ('payments.note_refund(uuid,uuid,text,text)',     'mana_payments', 'definer', 'volatile', 'worker'),
    ('payments.put_off(uuid,uuid,text)',              'mana_payments', 'definer', 'volatile', 'worker'),
    ('payments.receive_event(text,text,text,text,timestamp with time zone,bytea,text[],uuid,uuid,uuid,jsonb)',
                                                      'mana_payments', 'definer', 'volatile', 'api worker'),
    ('payments.request_refund(uuid,bigint,text,text,text)', 'mana_payments', 'definer', 'volatile', 'api'),
    ('payments.reversed_credits(bigint,bigint,bigint)', 'mana_payments', 'invoker', 'immutable', 'auditor'),
    ('payments.start_purchase(uuid,text,text,text,text,boolean)', 'mana_payments', 'definer', 'volatile', 'api'),
    ('payments.take_ticket(uuid)',                    'mana_payments', 'definer', 'volatile', 'api'),
    ('payments.visit(uuid,uuid)',                     'mana_payments', 'definer', 'volatile', 'api'),

    ('_payments.book_payment(uuid,uuid,payments.snapshot)', 'mana_payments', 'invoker', 'volatile', ''),
    ('_payments.checkout(uuid,boolean)',              'mana_payments', 'invoker', 'stable',   ''),
    ('_payments.know_objects(uuid,uuid,text,text[])', 'mana_payments', 'invoker', 'volatile', ''),
    ('_payments.mark_dirty(uuid,uuid)',               'mana_payments', 'invoker', 'volatile', ''),
    ('_payments.snapshot(jsonb)',                     'mana_payments', 'invoker', 'stable',   ''),

    ('api.balance(credits.balance_state)',            'mana_api', 'invoker', 'stable',   ''),
    ('api.bought(payments.checkout)',                 'mana_api', 'invoker', 'stable',   ''),
    ('api.checkout(payments.checkout,bigint)',        'mana_api', 'invoker', 'stable',   ''),
    ('api.get_balance(uuid[],text[],text[],boolean)', 'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.get_customer(uuid,text,text,boolean)',      'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.get_purchase(uuid,text,text,uuid)',         'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.health()',                                  'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.iso_time(timestamp with time zone)',        'mana_api', 'invoker', 'stable',   ''),
    ('api.list_packages(uuid,text,text)',             'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.list_purchases(uuid,text,text)',            'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.list_transactions(uuid,text,text,integer,integer,uuid,credits.transaction_type,text,text)',
                                                      'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.log_in(text,text,text,text,text,interval)', 'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.log_out(uuid,text,text,text)',              'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.new_user(auth.users)',                      'mana_api', 'invoker', 'stable',   ''),
    ('api.note_checkout(text,uuid,uuid,text,text)',   'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.ok(json,json,integer)',                     'mana_api', 'invoker', 'volatile', ''),
    ('api.package(credits.packages)',                 'mana_api', 'invoker', 'stable',   ''),
    ('api.page(json,uuid)',                           'mana_api', 'invoker', 'volatile', ''),
    ('api.purchase(credits.purchases)',               'mana_api', 'invoker', 'stable',   ''),
    ('api.receive_event(text,text,text,text,text,timestamp with time zone,bytea,text[],uuid,uuid,uuid,jsonb)',
                                                      'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.refresh_session(uuid,text,text,interval)',  'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.refused(text,text,json)',                   'mana_api', 'invoker', 'volatile', ''),
    ('api.register_user(text,text,text,text)',        'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.return_from_checkout(text,uuid,uuid)',      'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.session(auth.session_grant)',               'mana_api', 'invoker', 'stable',   ''),
    ('api.settle_purchase(text,uuid,uuid,bigint,jsonb)', 'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.spend(credits.receipt)',                    'mana_api', 'invoker', 'stable',   ''),
    ('api.start_purchase(uuid,text,text,uuid,text,text,text,text,boolean)',
                                                      'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.start_refund(uuid,text,text,uuid)',         'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.transaction(credits.receipt)',              'mana_api', 'invoker', 'stable',   ''),
    ('api.use_credits(uuid[],text[],text[],bigint[],text[],text[],text[],jsonb[],bigint[],boolean)',
                                                      'mana_api', 'definer', 'volatile', 'gateway'),
    ('api.validate(uuid,text,text)',                  'mana_api', 'definer', 'volatile', 'gateway')
    $$,
    'each function has its owner, its rights, its volatility and exactly its callers'
);

-- U USAGE, C CREATE. public and deploy are nobody's business.
select set_eq(
    $$
    select s.schema, replace(r.role, 'mana_', '') as role,
           concat(
               case when has_schema_privilege(r.role, s.schema, 'usage') then 'U' end,
               case when has_schema_privilege(r.role, s.schema, 'create') then 'C' end
           ) as privileges
      from unnest(array[
          'base', 'auth', '_auth', 'credits', '_credits', 'payments', '_payments', 'api', 'extensions', 'public', 'deploy'
      ]) as s (schema)
     cross join unnest(array[
         'mana_owner', 'mana_auth', 'mana_ledger', 'mana_payments', 'mana_auditor',
         'mana_api', 'mana_gateway', 'mana_worker', 'mana_backend', 'mana_reader', 'public'
     ]) as r (role)
     where has_schema_privilege(r.role, s.schema, 'usage') or has_schema_privilege(r.role, s.schema, 'create')
    $$,
    $$
    values
    ('base',       'owner', 'UC'), ('base', 'auth', 'U'), ('base', 'ledger', 'U'), ('base', 'payments', 'U'),
    ('base',       'auditor', 'U'), ('base', 'api', 'U'),
    ('_auth',      'owner', 'UC'), ('_auth', 'auth', 'U'),
    ('_credits',   'owner', 'UC'), ('_credits', 'ledger', 'U'), ('_credits', 'auditor', 'U'),
    ('_payments',  'owner', 'UC'), ('_payments', 'payments', 'U'),
    ('auth',       'owner', 'UC'), ('auth', 'auth', 'U'), ('auth', 'ledger', 'U'), ('auth', 'payments', 'U'),
    ('auth',       'auditor', 'U'), ('auth', 'api', 'U'), ('auth', 'backend', 'U'),
    ('credits',    'owner', 'UC'), ('credits', 'auth', 'U'), ('credits', 'ledger', 'U'), ('credits', 'payments', 'U'),
    ('credits',    'auditor', 'U'), ('credits', 'api', 'U'), ('credits', 'backend', 'U'), ('credits', 'reader', 'U'),
    ('payments',   'owner', 'UC'), ('payments', 'payments', 'U'), ('payments', 'auditor', 'U'), ('payments', 'api', 'U'),
    ('payments',   'worker', 'U'),
    ('api',        'owner', 'UC'), ('api', 'api', 'U'), ('api', 'gateway', 'U'),
    ('extensions', 'owner', 'UC'), ('extensions', 'auth', 'U')
    $$,
    'each role may look into exactly its schemas, and create in none but its own'
);

select set_eq(
    $$
    select replace(r.role, 'mana_', '') as role, p.privilege
      from unnest(array[
          'mana_owner', 'mana_auth', 'mana_ledger', 'mana_payments', 'mana_auditor',
          'mana_api', 'mana_gateway', 'mana_worker', 'mana_backend', 'mana_reader', 'public'
      ]) as r (role)
     cross join unnest(array['connect', 'create', 'temporary']) as p (privilege)
     where has_database_privilege(r.role, current_database(), p.privilege)
    $$,
    $$ values ('gateway', 'connect'), ('worker', 'connect'), ('backend', 'connect'), ('reader', 'connect') $$,
    'clients may connect, and nobody may make schemas or temporary tables'
);

select is_empty(
    $$
    select c.oid::regclass, g.grantee::regrole, g.privilege_type
      from pg_class as c
     cross join lateral aclexplode(c.relacl) as g
     where c.relnamespace in (select oid from our_schemas)
       and g.grantee not in (
           select oid from pg_roles
            where rolname in (
                'mana_owner', 'mana_auth', 'mana_ledger', 'mana_payments', 'mana_auditor', 'mana_reader'
            )
       )
    $$,
    'no other role was granted anything on a table or view'
);

select is_empty(
    $$
    select p.oid::regprocedure, g.grantee::regrole
      from pg_proc as p
     cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as g
     where p.pronamespace in (select oid from our_schemas)
       and g.grantee not in (
           select oid from pg_roles
            where rolname in (
                'mana_owner', 'mana_auth', 'mana_ledger', 'mana_payments', 'mana_auditor', 'mana_api', 'mana_gateway',
                'mana_worker', 'mana_backend', 'mana_reader'
            )
       )
    $$,
    'no other role was granted a function'
);

select is_empty(
    $$
    select g.grantee::regrole, g.privilege_type
      from pg_class as c
     cross join lateral aclexplode(c.relacl) as g
     where c.relnamespace in (select oid from our_schemas) and g.is_grantable
       and g.grantee <> c.relowner
    $$,
    'nobody may pass on what was granted'
);

select is_empty(
    $$
    select defaclrole::regrole, defaclobjtype, defaclacl
      from pg_default_acl
     where defaclnamespace = 0 or defaclnamespace in (select oid from our_schemas)
    $$,
    'no default privileges open up what is made later'
);

select * from finish();
rollback;
