-- Called by GET /api/v1/credits/packages.
--
-- Raises  PT401 as auth.begin_request does
create or replace function api.list_packages(p_user_id uuid, p_claims text, p_context text)
returns api.response
language plpgsql
volatile
as $$
declare
    v_body json;
begin
    perform auth.begin_request(p_user_id, p_claims, p_context);
    select coalesce(json_agg(json_build_object(
        'id', p.id,
        'name', p.name,
        'description', p.description,
        'credits', p.credits,
        'priceEuroCents', p.price_euro_cents,
        'sortOrder', p.sort_order
    )), '[]')
      into v_body
      from credits.list_packages() as p;
    return (200, v_body, null::json);
end
$$;

alter function api.list_packages owner to mana_owner;
revoke all on function api.list_packages from public;
grant execute on function api.list_packages to mana_gateway;
