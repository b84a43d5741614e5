-- Called by the api functions whose refusal keeps what the call has written: a grant, a failed login.
--
-- The reply that refuses with this code. Its status is 400 or above, and its body is for the gateway,
-- which makes a problem document of it. p_details has numbers that belong to the code.
create or replace function api.refused(p_code text, p_detail text default null, p_details json default null)
returns api.reply
language plpgsql
volatile
as $$
declare
    v_refusal constant base.refusal := base.refusal(p_code, p_detail);
begin
    return (
        v_refusal.status,
        case
            when p_details is null then json_build_object('code', p_code, 'detail', v_refusal.detail)
            else json_build_object('code', p_code, 'detail', v_refusal.detail, 'details', p_details)
        end,
        null::json,
        base.take_notes()
    );
end
$$;

alter function api.refused(text, text, json) owner to mana_api;
revoke all on function api.refused(text, text, json) from public;
grant execute on function api.refused(text, text, json) to mana_api;
