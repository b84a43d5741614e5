-- Called by api.start_purchase.
--
-- Opens a purchase of the user of this transaction and returns what the provider is to be asked for. Committed
-- before the provider is asked, so no news of it can come before its row. The same key with the same request is a
-- retry and returns the first purchase.
--
-- Locks   the user's customer row in this mode: two starts of one user come one after the other.
-- Raises  PT401 authentication_required
--         PT400 invalid_request         the detail names the parameter
--         PT422 idempotency_key_reused  the key was another request's
--         PT409 purchases_blocked       a dispute of this user is open
--         PT404 not_found               no such package is for sale
create or replace function payments.start_purchase(
    p_package_id      uuid,
    p_currency        text,
    p_success_url     text,
    p_cancel_url      text,
    p_idempotency_key text,
    p_livemode        boolean
)
returns payments.checkout
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id  constant uuid := auth.require_user();
    v_now      constant timestamptz := base.clock();
    v_currency constant text := coalesce(lower(p_currency), 'eur');
    v_earlier  payments.orders;
    v_opened   record;
begin
    if v_currency collate "C" !~ '^[a-z]{3}$' then
        perform base.refuse('invalid_request', 'currency: must be a code of three letters.');
    end if;
    if length(p_success_url) not between 1 and 2048 then
        perform base.refuse('invalid_request', 'success_url: must have 1 to 2048 characters.');
    end if;
    if length(p_cancel_url) not between 1 and 2048 then
        perform base.refuse('invalid_request', 'cancel_url: must have 1 to 2048 characters.');
    end if;
    if length(p_idempotency_key) not between 1 and 255 then
        perform base.refuse('invalid_request', 'idempotency_key: must have 1 to 255 characters.');
    end if;
    if p_livemode is null then
        perform base.refuse('invalid_request', 'livemode: must be true or false.');
    end if;

    insert into payments.customers (user_id, livemode, created_at)
    values (v_user_id, p_livemode, v_now)
    on conflict do nothing;
    perform from payments.customers where user_id = v_user_id and livemode = p_livemode for update;

    select * into v_earlier from payments.orders where user_id = v_user_id and idempotency_key = p_idempotency_key;
    if found then
        if (v_earlier.package_id, v_earlier.currency, v_earlier.success_url, v_earlier.cancel_url)
           is distinct from (p_package_id, v_currency, p_success_url, p_cancel_url) then
            perform base.refuse('idempotency_key_reused');
        end if;
        return _payments.checkout(v_earlier.purchase_id, p_replayed => true);
    end if;
    if exists (select from payments.orders where user_id = v_user_id and dispute = 'open') then
        perform base.refuse('purchases_blocked');
    end if;

    v_opened := credits.open_purchase(p_package_id, v_currency);
    insert into payments.orders (
        user_id, purchase_id, package_id, credits, livemode, currency, amount, title, stripe_price_id,
        success_url, cancel_url, idempotency_key, updated_at
    )
    values (
        v_user_id, v_opened.purchase_id, p_package_id, v_opened.credits, p_livemode, v_currency, v_opened.amount,
        v_opened.title, v_opened.stripe_price_id, p_success_url, p_cancel_url, p_idempotency_key, v_now
    );
    insert into payments.tasks (user_id, purchase_id, due_at)
    values (v_user_id, v_opened.purchase_id, v_now + interval '1 hour');
    return _payments.checkout(v_opened.purchase_id);
end
$$;

alter function payments.start_purchase owner to mana_payments;
revoke all on function payments.start_purchase from public;
grant execute on function payments.start_purchase to mana_api;
