-- Called by the api functions whose refusal keeps what the call has written: a grant, a failed login.
--
-- The reply that refuses with this code. Its status is 400 or above, and its body is for the gateway,
-- which makes a problem document of it.
create or replace function api.refused(p_code text, p_detail text default null)
returns api.reply
language plpgsql
volatile
as $$
declare
    v_refusal constant base.refusal := base.refusal(p_code, p_detail);
begin
    return (
        v_refusal.status, json_build_object('code', p_code, 'detail', v_refusal.detail), null::json, base.take_notes()
    );
end
$$;

alter function api.refused owner to mana_owner;
revoke all on function api.refused from public;
grant execute on function api.refused to mana_gateway;
