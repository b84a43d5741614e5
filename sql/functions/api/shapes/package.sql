-- Called by api.list_packages.
--
-- A package that is for sale.
create or replace function api.package(p_package credits.packages)
returns json
language sql
stable
as $$
    select json_build_object(
        'id', p_package.id,
        'name', p_package.name,
        'description', p_package.description,
        'credits', p_package.credits,
        'priceEuroCents', p_package.price_euro_cents,
        'sortOrder', p_package.sort_order,
        'active', p_package.active,
        'stripePriceId', p_package.stripe_price_id,
        'metadata', credits.metadata_of_package(p_package.id)
    )
$$;

alter function api.package owner to mana_api;
revoke all on function api.package from public;
grant execute on function api.package to mana_api;
