-- Called by administrators (mana package add).
--
-- Puts a package on sale and returns its id. Names are told apart in all letters.
--
-- Raises  PT400 invalid_request  the detail names the parameter
create or replace function credits.add_package(
    p_name             text,
    p_credits          bigint,
    p_price_euro_cents int,
    p_description      text default null,
    p_stripe_price_id  text default null,
    p_metadata         jsonb default null,
    p_sort_order       int default 0
)
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := base.clock();
    v_id    constant uuid := base.uuid_v7(v_now);
    v_error constant text := case
        when (length(p_name) between 1 and 100) is not true then 'name: must have 1 to 100 characters.'
        when (p_credits between 1 and 1000000000) is not true then 'credits: must be from 1 to 1000000000.'
        when (p_price_euro_cents > 0) is not true then 'price: must be at least 1 cent.'
        when length(p_description) not between 1 and 500 then 'description: must have 1 to 500 characters.'
        when length(p_stripe_price_id) not between 1 and 255 then 'stripe_price_id: must have 1 to 255 characters.'
        when jsonb_typeof(p_metadata) <> 'object' or octet_length(p_metadata::text) > 4096
            then 'metadata: must be an object of at most 4096 bytes.'
        when p_sort_order is null then 'sort_order: must be a number.'
    end;
begin
    if v_error is not null then
        perform base.refuse('invalid_request', v_error);
    end if;
    insert into credits.packages (
        id, name, description, credits, price_euro_cents, stripe_price_id, sort_order, created_at, updated_at
    )
    values (
        v_id, p_name, p_description, p_credits, p_price_euro_cents, p_stripe_price_id, p_sort_order, v_now, v_now
    )
    on conflict do nothing;
    if not found then
        perform base.refuse('invalid_request', 'name: there is a package with this name or price already.');
    end if;
    if p_metadata is not null then
        insert into credits.package_metadata (package_id, metadata) values (v_id, p_metadata);
    end if;
    return v_id;
end
$$;

alter function credits.add_package owner to mana_ledger;
revoke all on function credits.add_package from public;
