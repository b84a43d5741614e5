-- Called by _auth.record_event, _credits.lock_balances, credits.open_account, credits.complete_purchase,
-- _payments.book_payment and payments.receive_event.
--
-- Notes what an operator counts, for the reply of this transaction: words apart by spaces, each an
-- event and, where there is one, =amount. Notes end with the transaction.
create or replace function base.note_event(p_event text, p_amount bigint default null)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config(
        'request.events',
        concat_ws(' ', nullif(current_setting('request.events', true), ''), concat_ws('=', p_event, p_amount)),
        true
    );
end
$$;

alter function base.note_event owner to mana_owner;
revoke all on function base.note_event from public;
grant execute on function base.note_event to mana_auth, mana_ledger, mana_payments;
