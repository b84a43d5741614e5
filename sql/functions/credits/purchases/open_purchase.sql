-- Called by payments.start_purchase.
--
-- Opens a purchase of this package for the user of this transaction and returns what is to be paid for it: amount
-- in minor units of p_currency. Later changes of the package leave an open purchase as it is.
--
-- Raises  PT401 authentication_required
--         PT404 not_found        no such package is for sale
--         PT400 invalid_request  the package has no price in this currency
create or replace function credits.open_purchase(
    p_package_id uuid,
    p_currency   text,
    out purchase_id     uuid,
    out credits         bigint,
    out title           text,
    out amount          bigint,
    out stripe_price_id text
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_now     constant timestamptz := base.clock();
    v_package credits.packages;
begin
    select * into v_package from credits.packages where id = p_package_id and active;
    if not found then
        perform base.refuse('not_found', 'There is no such package for sale.');
    end if;
    if p_currency = 'eur' then
        amount := v_package.price_euro_cents;
        stripe_price_id := v_package.stripe_price_id;
    end if;
    if amount is null then
        perform base.refuse('invalid_request', 'currency: this package has no price in it.');
    end if;

    purchase_id := base.uuid_v7(v_now);
    credits := v_package.credits;
    title := v_package.name;
    insert into credits.purchases (user_id, id, package_id, credits, price_euro_cents, created_at)
    values (v_user_id, purchase_id, v_package.id, v_package.credits, v_package.price_euro_cents, v_now);
end
$$;

alter function credits.open_purchase owner to mana_ledger;
revoke all on function credits.open_purchase from public;
grant execute on function credits.open_purchase to mana_payments;
