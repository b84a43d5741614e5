-- Called by administrators (mana package price, mana package retire).
--
-- Changes what a package costs, or whether it is on sale; null leaves a thing as it is. A new price takes
-- p_stripe_price_id with it, or none. What is bought already, and pages that are open to pay on, keep their price.
--
-- Locks   the package's row.
-- Raises  PT404 not_found        no package has this name
--         PT400 invalid_request  the detail names the parameter
create or replace function credits.change_package(
    p_name             text,
    p_price_euro_cents int default null,
    p_stripe_price_id  text default null,
    p_active           boolean default null
)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_price_euro_cents <= 0 then
        perform base.refuse('invalid_request', 'price: must be at least 1 cent.');
    end if;
    if length(p_stripe_price_id) not between 1 and 255 then
        perform base.refuse('invalid_request', 'stripe_price_id: must have 1 to 255 characters.');
    end if;
    if exists (select from credits.packages where stripe_price_id = p_stripe_price_id and name is distinct from p_name) then
        perform base.refuse('invalid_request', 'stripe_price_id: another package has it.');
    end if;
    update credits.packages
       set price_euro_cents = coalesce(p_price_euro_cents, price_euro_cents),
           stripe_price_id = case when p_price_euro_cents is null then stripe_price_id else p_stripe_price_id end,
           active = coalesce(p_active, active),
           updated_at = base.clock()
     where name = p_name;
    if not found then
        perform base.refuse('not_found', 'There is no such package.');
    end if;
end
$$;

alter function credits.change_package owner to mana_ledger;
revoke all on function credits.change_package from public;
