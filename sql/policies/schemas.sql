-- The roles that may look into each schema. Nobody but the owner may create in one, and nobody but the owner of its
-- functions looks into the insides, _auth, _credits and _payments.
revoke all on schema public from public;
revoke all on schema base, auth, _auth, credits, _credits, payments, _payments, api, extensions from public;

grant usage on schema base to mana_auth, mana_ledger, mana_payments, mana_auditor, mana_api;
grant usage on schema auth to mana_auth, mana_ledger, mana_payments, mana_auditor, mana_api, mana_backend;
grant usage on schema _auth to mana_auth;
grant usage on schema credits to
mana_auth, mana_ledger, mana_payments, mana_auditor, mana_api, mana_backend, mana_reader;
grant usage on schema _credits to mana_ledger, mana_auditor;
grant usage on schema payments to mana_payments, mana_auditor, mana_api, mana_worker;
grant usage on schema _payments to mana_payments;
grant usage on schema api to mana_api, mana_gateway;
grant usage on schema extensions to mana_auth;
