-- Called by policies, auth.uid and _auth.sealed_user_ids.
--
-- The users of this transaction, null when it has none. This reads what settings name: the doors check
-- the seal (auth.require_users). A transaction that functions of release 0.1 have begun names its user
-- in the claims alone. Policies call it in a sub-select, which a statement evaluates once, not once for
-- each row of a batch. No SET clause: it would keep the function from being inlined.
create or replace function auth.user_ids()
returns uuid[]
language sql
stable
parallel safe
as $$
    select string_to_array(coalesce(
        nullif(current_setting('request.user_ids', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'
    ), ' ')::uuid[]
$$;

alter function auth.user_ids owner to mana_auth;
revoke all on function auth.user_ids from public;
grant execute on function auth.user_ids to mana_auth, mana_ledger, mana_payments, mana_api, mana_backend;
