-- Called by api.get_customer.
--
-- The id that the user of this transaction has at the provider in this mode.
--
-- Raises  PT401 authentication_required
--         PT404 not_found  the user has bought nothing yet
create or replace function payments.get_customer(p_livemode boolean)
returns text
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id  constant uuid := auth.require_user();
    v_customer text;
begin
    select customer_id into v_customer from payments.customers where user_id = v_user_id and livemode = p_livemode;
    if v_customer is null then
        perform base.refuse('not_found', 'This user has bought nothing yet.');
    end if;
    return v_customer;
end
$$;

alter function payments.get_customer owner to mana_payments;
revoke all on function payments.get_customer from public;
grant execute on function payments.get_customer to mana_api;
