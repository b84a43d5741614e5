-- Called by payments.note_checkout, payments.apply_snapshot and payments.receive_event, for the user of this
-- transaction.
--
-- Remembers that these objects of the provider belong to this purchase, so that later news of them is found.
create or replace function _payments.know_objects(
    p_user_id     uuid,
    p_purchase_id uuid,
    p_session_id  text,
    p_others      text[] default '{}'
)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    update payments.orders
       set session_id = p_session_id
     where user_id = p_user_id and purchase_id = p_purchase_id and session_id is distinct from p_session_id
       and p_session_id is not null;
    insert into payments.objects (id, user_id, purchase_id)
    select distinct o.id, p_user_id, p_purchase_id
      from unnest(p_session_id || p_others) as o (id)
     where o.id is not null
    on conflict (id) do nothing;
end
$$;

alter function _payments.know_objects owner to mana_payments;
revoke all on function _payments.know_objects from public;
grant execute on function _payments.know_objects to mana_payments;
