-- Called by policies.
--
-- Whether this transaction acts for p_user_id: the user of its claims, or one of those whose claims
-- auth.begin_requests found true. Ids are of one length and form, so that one cannot be found within
-- others. No SET clause: it would keep the function from being inlined into policies.
create or replace function auth.acts_for(p_user_id uuid)
returns boolean
language sql
stable
parallel safe
as $$
    select p_user_id = auth.uid() or strpos(current_setting('request.user_ids', true), p_user_id::text) > 0
$$;

alter function auth.acts_for owner to mana_auth;
revoke all on function auth.acts_for from public;
grant execute on function auth.acts_for to mana_auth, mana_ledger;
