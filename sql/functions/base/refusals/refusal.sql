-- Called by base.refuse and api.refused.
--
-- All that may be refused: the HTTP status of each code, and its sentence unless the caller has a
-- better one. A code that is not in this list has no status. Clients log out or refresh when they read
-- 'Invalid token' or 'Invalid refresh token', and offer credits at 'Insufficient credits'.
create or replace function base.refusal(p_code text, p_detail text default null)
returns base.refusal
language sql
immutable
as $$
    select row(r.status, p_code, coalesce(p_detail, r.detail))::base.refusal
      from (values
          ('invalid_request',         400, null),
          ('authentication_required', 401, 'This transaction has no user: call auth.act_as() in it first.'),
          ('invalid_token',           401, 'Invalid token.'),
          ('session_ended',           401, 'Invalid token: this session has ended. Log in again.'),
          ('account_disabled',        401, 'Invalid token: this account is disabled.'),
          ('role_changed',            401, 'Invalid token: the role of this account has changed. Refresh it.'),
          ('invalid_credentials',     401, 'Invalid email or password'),
          ('invalid_refresh_token',   401, 'Invalid refresh token'),
          ('insufficient_credits',    402, 'Insufficient credits.'),
          ('app_not_allowed',         403, 'This backend does not work for this app.'),
          ('approval_required',       403, 'A second administrator has to approve this.'),
          ('not_found',               404, 'There is nothing here.'),
          ('email_taken',             409, 'This e-mail address is already registered.'),
          ('purchases_blocked',       409, 'A payment is disputed. Until that is settled, nothing can be bought.'),
          ('purchase_not_paid',       409, 'There is no payment that could be refunded.'),
          ('refund_not_possible',     409, 'The time to refund has passed, or some of the credits are spent.'),
          ('reversal_exceeds_spend',  409, 'So much of this spend is not left to give back.'),
          ('version_conflict',        409, 'The balance has changed. Read it again and decide again.'),
          ('idempotency_key_reused',  422, 'This idempotency key was used for another request.'),
          ('not_visible_yet',         503, 'This purchase is not here yet. Send the event again.')
      ) as r (code, status, detail)
     where r.code = p_code
$$;

alter function base.refusal owner to mana_owner;
revoke all on function base.refusal from public;
grant execute on function base.refusal to mana_auth, mana_ledger, mana_payments, mana_api;
