-- Who may look into which schema. Nobody but the owner may create in one.
revoke all on schema public from public;
revoke all on schema auth, credits, api, extensions from public;

grant usage on schema auth to mana_auth, mana_ledger, mana_gateway, mana_backend;
grant usage on schema credits to mana_auth, mana_ledger, mana_auditor, mana_gateway, mana_backend, mana_reader;
grant usage on schema api to mana_gateway;
grant usage on schema extensions to mana_auth;
