-- What each table refuses by itself, from the catalog, against what is written here. A constraint, a
-- unique index, a column that may be null or a default that is missing here fails the suite, and so
-- does one that is only here.
begin;
\ir ../setup.psql
select plan(4);

create view tap.our_tables as
select c.oid, c.oid::regclass::text as name
  from pg_class as c
 where c.relnamespace in (select oid from our_schemas)
   and c.relkind in ('r', 'p', 'f');

-- What may not be null is left to its own test: from version 18 on, that is a constraint as well.
select set_eq(
    $$
    select t.name, pg_get_constraintdef(k.oid)
      from our_tables as t
      join pg_constraint as k on k.conrelid = t.oid and k.contype <> 'n'
    $$,
    $$
    values
    ('auth.accounts',             'CHECK (((length(account_id) >= 1) AND (length(account_id) <= 255)))'),
    ('auth.accounts',             'CHECK (((length(provider_id) >= 1) AND (length(provider_id) <= 100)))'),
    ('auth.accounts',             'FOREIGN KEY (user_id) REFERENCES auth.users(id)'),
    ('auth.accounts',             'PRIMARY KEY (user_id, provider_id, account_id)'),
    ('auth.accounts',             'UNIQUE (provider_id, account_id)'),
    ('auth.passwords',            'CHECK (((hash ~~ ''$2_$__$%''::text) AND (length(hash) = 60)))'),
    ('auth.passwords',            'FOREIGN KEY (user_id) REFERENCES auth.users(id)'),
    ('auth.passwords',            'PRIMARY KEY (user_id)'),
    ('auth.refresh_tokens',       'CHECK ((length(hash) = 32))'),
    ('auth.refresh_tokens',
     'FOREIGN KEY (user_id, session_id) REFERENCES auth.sessions(user_id, id) '
     'ON DELETE CASCADE'),
    ('auth.refresh_tokens',       'PRIMARY KEY (user_id, hash)'),
    ('auth.security_events',      'CHECK (((length(event_type) >= 1) AND (length(event_type) <= 100)))'),
    ('auth.security_events',      'FOREIGN KEY (user_id) REFERENCES auth.users(id)'),
    ('auth.security_events',      'PRIMARY KEY (user_id, id)'),
    ('auth.sessions',             'CHECK (((length(device_id) >= 1) AND (length(device_id) <= 255)))'),
    ('auth.sessions',             'CHECK (((length(device_name) >= 1) AND (length(device_name) <= 255)))'),
    ('auth.sessions',             'CHECK ((length(refresh_secret) = 32))'),
    ('auth.sessions',             'FOREIGN KEY (user_id) REFERENCES auth.users(id)'),
    ('auth.sessions',             'PRIMARY KEY (user_id, id)'),
    ('auth.two_factor_auth',      'FOREIGN KEY (user_id) REFERENCES auth.users(id)'),
    ('auth.two_factor_auth',      'PRIMARY KEY (user_id)'),
    ('auth.users',
     'CHECK (((email = lower(email)) AND ((length(email) >= 3) AND (length(email) <= 254)) AND '
     '(POSITION((''@''::text) IN (email)) > 1)))'),
    ('auth.users',                'CHECK (((length(name) >= 1) AND (length(name) <= 255)))'),
    ('auth.users',                'PRIMARY KEY (id)'),
    ('auth.users',                'UNIQUE (email)'),
    ('auth.verification_tokens',  'CHECK (((length(purpose) >= 1) AND (length(purpose) <= 100)))'),
    ('auth.verification_tokens',  'CHECK ((length(hash) = 32))'),
    ('auth.verification_tokens',  'FOREIGN KEY (user_id) REFERENCES auth.users(id)'),
    ('auth.verification_tokens',  'PRIMARY KEY (user_id, hash)'),
    ('credits.balances',          'CHECK ((free_credits_remaining >= 0))'),
    ('credits.balances',          'CHECK ((held >= 0))'),
    ('credits.balances',          'CHECK ((total_earned >= 0))'),
    ('credits.balances',          'CHECK ((total_spent >= 0))'),
    ('credits.balances',          'CHECK ((version >= 0))'),
    ('credits.balances',          'FOREIGN KEY (user_id) REFERENCES auth.users(id)'),
    ('credits.balances',          'PRIMARY KEY (user_id)'),
    ('credits.causes',            'CHECK (((length(actor) >= 1) AND (length(actor) <= 255)))'),
    ('credits.causes',
     'CHECK ((((length(approved_by) >= 1) AND (length(approved_by) <= 255)) AND (approved_by <> actor)))'),
    ('credits.causes',            'CHECK (((length(cause) >= 1) AND (length(cause) <= 400)))'),
    ('credits.causes',            'CHECK (((length(note) >= 1) AND (length(note) <= 500)))'),
    ('credits.causes',            'CHECK (((length(reason) >= 1) AND (length(reason) <= 100)))'),
    ('credits.causes',            'FOREIGN KEY (user_id, reverses) REFERENCES credits.transactions(user_id, id)'),
    ('credits.causes',
     'FOREIGN KEY (user_id, transaction_id) REFERENCES credits.transactions(user_id, id)'),
    ('credits.causes',            'PRIMARY KEY (user_id, cause)'),
    ('credits.causes',            'UNIQUE (user_id, transaction_id)'),
    ('credits.ledger_checks',     'PRIMARY KEY (user_id)'),
    ('credits.ledger_entries',
     'CHECK (((debit_account = ANY (ARRAY[''free''::credits.account, ''paid''::credits.account])) <> (credit_account '
     '= ANY (ARRAY[''free''::credits.account, ''paid''::credits.account]))))'),
    ('credits.ledger_entries',    'CHECK ((amount > 0))'),
    ('credits.ledger_entries',    'CHECK ((entry_no = ANY (ARRAY[1, 2])))'),
    ('credits.ledger_entries',    'FOREIGN KEY (user_id, transaction_id) REFERENCES credits.transactions(user_id, id)'),
    ('credits.ledger_entries',    'PRIMARY KEY (user_id, transaction_id, entry_no)'),
    ('auth.seal_key',             'CHECK ((length(key) = 32))'),
    ('auth.seal_key',             'CHECK (id)'),
    ('auth.seal_key',             'PRIMARY KEY (id)'),
    ('credits.backend_apps',      'CHECK (((length(app_id) >= 1) AND (length(app_id) <= 100)))'),
    ('credits.backend_apps',      'PRIMARY KEY (role_name, app_id)'),
    ('credits.package_metadata',  'CHECK (((jsonb_typeof(metadata) = ''object''::text) AND (octet_length((metadata)::text) '
     '<= 4096)))'),
    ('credits.package_metadata',  'FOREIGN KEY (package_id) REFERENCES credits.packages(id) ON DELETE CASCADE'),
    ('credits.package_metadata',  'PRIMARY KEY (package_id)'),
    ('credits.packages',          'CHECK (((credits >= 1) AND (credits <= 1000000000)))'),
    ('credits.packages',          'CHECK (((length(description) >= 1) AND (length(description) <= 500)))'),
    ('credits.packages',          'CHECK (((length(name) >= 1) AND (length(name) <= 100)))'),
    ('credits.packages',          'CHECK (((length(stripe_price_id) >= 1) AND (length(stripe_price_id) <= 255))) NOT VALID'),
    ('credits.packages',          'CHECK ((price_euro_cents > 0))'),
    ('credits.packages',          'PRIMARY KEY (id)'),
    ('credits.packages',          'UNIQUE (name)'),
    ('credits.packages',          'UNIQUE (stripe_price_id)'),
    ('credits.purchases',
     'CHECK (((length(stripe_payment_intent_id) >= 1) AND (length(stripe_payment_intent_id) <= 255))) NOT VALID'),
    ('credits.purchases',         'CHECK ((credits > 0))'),
    ('credits.purchases',         'CHECK ((price_euro_cents > 0))'),
    ('credits.purchases',         'FOREIGN KEY (package_id) REFERENCES credits.packages(id)'),
    ('credits.purchases',         'FOREIGN KEY (user_id) REFERENCES credits.balances(user_id)'),
    ('credits.purchases',         'PRIMARY KEY (user_id, id)'),
    ('credits.purchases',         'UNIQUE (user_id, stripe_payment_intent_id)'),
    ('credits.settings',          'CHECK (((daily_free_credits >= 0) AND (daily_free_credits <= 1000000000)))'),
    ('credits.settings',          'CHECK (((signup_bonus >= 0) AND (signup_bonus <= 1000000000)))'),
    ('credits.settings',          'CHECK (id)'),
    ('credits.settings',          'PRIMARY KEY (id)'),
    ('credits.transactions',      'CHECK (((length(app_id) >= 1) AND (length(app_id) <= 100)))'),
    ('credits.transactions',      'CHECK (((length(description) >= 1) AND (length(description) <= 500)))'),
    ('credits.transactions',      'CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 255)))'),
    ('credits.transactions',
     'CHECK (((app_id COLLATE "C") ~ ''^[A-Za-z0-9][A-Za-z0-9._-]*$''::text)) NOT VALID'),
    ('credits.transactions',
     'CHECK (((jsonb_typeof(metadata) = ''object''::text) AND (octet_length((metadata)::text) <= 4096))) NOT VALID'),
    ('credits.transactions',      'CHECK ((amount <> 0))'),
    ('credits.transactions',      'CHECK ((balance_after = (balance_before + amount)))'),
    ('credits.transactions',      'CHECK ((free_after >= 0))'),
    ('credits.transactions',      'CHECK ((grant_window >= 0))'),
    ('credits.transactions',      'CHECK ((total_spent_after >= 0))'),
    ('credits.transactions',      'CHECK ((version > 0))'),
    ('credits.transactions',      'FOREIGN KEY (user_id) REFERENCES credits.balances(user_id)'),
    ('credits.transactions',      'PRIMARY KEY (user_id, id)'),
    ('payments.customers',        'CHECK (((length(customer_id) >= 1) AND (length(customer_id) <= 255)))'),
    ('payments.customers',        'FOREIGN KEY (user_id) REFERENCES credits.balances(user_id)'),
    ('payments.customers',        'PRIMARY KEY (user_id, livemode)'),
    ('payments.events',           'CHECK (((length(api_version) >= 1) AND (length(api_version) <= 100)))'),
    ('payments.events',           'CHECK (((length(currency) >= 1) AND (length(currency) <= 10)))'),
    ('payments.events',           'CHECK (((length(endpoint) >= 1) AND (length(endpoint) <= 100)))'),
    ('payments.events',           'CHECK (((length(id) >= 1) AND (length(id) <= 255)))'),
    ('payments.events',           'CHECK (((length(object_id) >= 1) AND (length(object_id) <= 255)))'),
    ('payments.events',           'CHECK (((length(outcome) >= 1) AND (length(outcome) <= 100)))'),
    ('payments.events',           'CHECK (((length(type) >= 1) AND (length(type) <= 255)))'),
    ('payments.events',           'CHECK ((length(digest) = 32))'),
    ('payments.events',           'PRIMARY KEY (id, endpoint)'),
    ('payments.objects',          'CHECK (((length(id) >= 1) AND (length(id) <= 255)))'),
    ('payments.objects',
     'FOREIGN KEY (user_id, purchase_id) REFERENCES payments.orders(user_id, purchase_id)'),
    ('payments.objects',          'PRIMARY KEY (id)'),
    ('payments.orders',           'CHECK (((amount >= 1) AND (amount <= 99999999)))'),
    ('payments.orders',           'CHECK (((currency COLLATE "C") ~ ''^[a-z]{3}$''::text))'),
    ('payments.orders',           'CHECK (((length(cancel_url) >= 1) AND (length(cancel_url) <= 2048)))'),
    ('payments.orders',           'CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 255)))'),
    ('payments.orders',           'CHECK (((length(receipt_url) >= 1) AND (length(receipt_url) <= 2048)))'),
    ('payments.orders',           'CHECK (((length(review) >= 1) AND (length(review) <= 100)))'),
    ('payments.orders',           'CHECK (((length(session_id) >= 1) AND (length(session_id) <= 255)))'),
    ('payments.orders',           'CHECK (((length(stripe_price_id) >= 1) AND (length(stripe_price_id) <= 255)))'),
    ('payments.orders',           'CHECK (((length(success_url) >= 1) AND (length(success_url) <= 2048)))'),
    ('payments.orders',           'CHECK (((length(title) >= 1) AND (length(title) <= 100)))'),
    ('payments.orders',           'CHECK ((credits > 0))'),
    ('payments.orders',
     'CHECK ((dispute = ANY (ARRAY[''inquiry''::text, ''open''::text, ''lost''::text, ''won''::text])))'),
    ('payments.orders',           'CHECK ((disputed >= 0))'),
    ('payments.orders',           'CHECK ((paid >= 0))'),
    ('payments.orders',           'CHECK ((refunded >= 0))'),
    ('payments.orders',           'FOREIGN KEY (user_id, purchase_id) REFERENCES credits.purchases(user_id, id)'),
    ('payments.orders',           'PRIMARY KEY (user_id, purchase_id)'),
    ('payments.refunds',          'CHECK (((length(actor) >= 1) AND (length(actor) <= 255)))'),
    ('payments.refunds',          'CHECK (((length(failure) >= 1) AND (length(failure) <= 255)))'),
    ('payments.refunds',          'CHECK (((length(note) >= 1) AND (length(note) <= 500)))'),
    ('payments.refunds',          'CHECK (((length(reason) >= 1) AND (length(reason) <= 100)))'),
    ('payments.refunds',          'CHECK (((length(stripe_refund_id) >= 1) AND (length(stripe_refund_id) <= 255)))'),
    ('payments.refunds',          'CHECK ((amount > 0))'),
    ('payments.refunds',
     'FOREIGN KEY (user_id, purchase_id) REFERENCES payments.orders(user_id, purchase_id)'),
    ('payments.refunds',          'PRIMARY KEY (user_id, id)'),
    ('payments.settings',         'CHECK ((refundable_for >= ''00:00:00''::interval))'),
    ('payments.settings',         'CHECK (id)'),
    ('payments.settings',         'PRIMARY KEY (id)'),
    ('payments.tasks',            'CHECK (((length(failure) >= 1) AND (length(failure) <= 255)))'),
    ('payments.tasks',
     'FOREIGN KEY (user_id, purchase_id) REFERENCES payments.orders(user_id, purchase_id)'),
    ('payments.tasks',            'PRIMARY KEY (user_id, purchase_id)')
    $$,
    'each table has exactly its constraints'
);

select set_eq(
    $$
    select t.name, regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX .* USING', '')
      from our_tables as t
      join pg_index as i on i.indrelid = t.oid
     where not exists (select from pg_constraint as k where k.conindid = i.indexrelid and k.contype in ('p', 'u'))
    $$,
    $$
    values
    ('auth.refresh_tokens',       'CREATE btree (user_id, session_id)'),
    ('credits.causes',            'CREATE btree (user_id, reverses) WHERE (reverses IS NOT NULL)'),
    ('credits.ledger_entries',    'CREATE brin (xact_id) WITH (pages_per_range=''32'', autosummarize=''on'')'),
    ('credits.transactions',
     'CREATE UNIQUE btree (user_id, idempotency_key, app_id) NULLS NOT DISTINCT WHERE (idempotency_key IS NOT NULL)'),
    ('credits.transactions',      'CREATE UNIQUE btree (user_id, grant_window) WHERE (grant_window IS NOT NULL)'),
    ('payments.events',           'CREATE brin (received_at)'),
    ('payments.orders',
     'CREATE UNIQUE btree (user_id, idempotency_key) WHERE (idempotency_key IS NOT NULL)'),
    ('payments.tasks',            'CREATE btree (dirty_since) WHERE (dirty_since IS NOT NULL)'),
    ('payments.tasks',            'CREATE btree (due_at) WHERE (due_at IS NOT NULL)')
    $$,
    'and its indexes, three of which are a rule'
);

select set_eq(
    $$
    select t.name, string_agg(a.attname, ' ' order by a.attnum)
      from our_tables as t
      join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and not a.attnotnull
     group by t.name
    $$,
    $$
    values
    ('auth.refresh_tokens',       'used_at'),
    ('auth.security_events',      'session_id ip_address user_agent request_id'),
    ('auth.sessions',             'device_id device_name ip_address user_agent revoked_at'),
    ('auth.two_factor_auth',      'enabled_at'),
    ('auth.users',                'name disabled_at deleted_at'),
    ('auth.verification_tokens',  'used_at'),
    ('credits.causes',            'reverses reason note actor approved_by'),
    ('credits.ledger_checks',     'grant_window'),
    ('credits.ledger_entries',    'xact_id'),
    ('credits.packages',          'description stripe_price_id'),
    ('credits.purchases',         'package_id stripe_payment_intent_id completed_at'),
    ('credits.transactions',      'grant_window app_id metadata idempotency_key completed_at'),
    ('payments.customers',        'customer_id'),
    ('payments.events',           'api_version object_id amount currency'),
    ('payments.orders',
     'stripe_price_id success_url cancel_url idempotency_key session_id dispute receipt_url review'),
    ('payments.refunds',          'amount note stripe_refund_id failure'),
    ('payments.tasks',            'dirty_since looked_at due_at failure')
    $$,
    'no other column than these may be null'
);

select set_eq(
    $$
    select t.name, a.attname::text, pg_get_expr(d.adbin, d.adrelid)
      from our_tables as t
      join pg_attrdef as d on d.adrelid = t.oid
      join pg_attribute as a on a.attrelid = t.oid and a.attnum = d.adnum
    $$,
    $$
    values
    ('auth.seal_key',         'id',                      'true'),
    ('auth.two_factor_auth',  'backup_code_hashes',      '''{}''::bytea[]'),
    ('auth.users',            'email_verified',          'false'),
    ('auth.users',            'role',                    '''user''::auth.user_role'),
    ('credits.balances',      'balance',                 '0'),
    ('credits.balances',      'free_credits_remaining',  '0'),
    ('credits.balances',      'held',                    '0'),
    ('credits.balances',      'total_earned',            '0'),
    ('credits.balances',      'total_spent',             '0'),
    ('credits.balances',      'version',                 '0'),
    ('credits.ledger_entries', 'xact_id',                '((pg_current_xact_id())::text)::bigint'),
    ('credits.packages',      'active',                  'true'),
    ('credits.packages',      'sort_order',              '0'),
    ('credits.purchases',     'status',                  '''pending''::credits.purchase_status'),
    ('credits.settings',      'id',                      'true'),
    ('credits.transactions',  'status',                  '''completed''::credits.transaction_status'),
    ('payments.orders',       'disputed',                '0'),
    ('payments.orders',       'paid',                    '0'),
    ('payments.orders',       'refunded',                '0'),
    ('payments.settings',     'id',                      'true'),
    ('payments.tasks',        'applied_seq',             '0'),
    ('payments.tasks',        'attempts',                '0'),
    ('payments.tasks',        'dirty_seq',               '0')
    $$,
    'no other column than these has a value by default'
);

select * from finish();
rollback;
