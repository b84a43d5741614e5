-- Called by payments.apply_snapshot.
--
-- Lets a purchase that is not paid go on to p_status: pending < processing < failed, expired. It never goes back,
-- whatever the order of news, and one that is paid stays as it is. Returns the status that it has now.
--
-- Raises  PT401 authentication_required
--         PT404 not_found  the user has no such purchase
create or replace function credits.advance_purchase(p_purchase_id uuid, p_status credits.purchase_status)
returns credits.purchase_status
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_user_id constant uuid := auth.require_user();
    v_ranks   constant text[] := array['pending', 'processing'];  -- the others come after these
    v_status  credits.purchase_status;
begin
    select status into v_status from credits.purchases where user_id = v_user_id and id = p_purchase_id for update;
    if not found then
        perform base.refuse('not_found');
    end if;
    if coalesce(array_position(v_ranks, p_status::text), 3) > coalesce(array_position(v_ranks, v_status::text), 3) then
        update credits.purchases set status = p_status where user_id = v_user_id and id = p_purchase_id;
        return p_status;
    end if;
    return v_status;
end
$$;

alter function credits.advance_purchase owner to mana_ledger;
revoke all on function credits.advance_purchase from public;
grant execute on function credits.advance_purchase to mana_payments;
