-- Called by auth functions, credits functions and payments functions that raise.
--
-- Raises the refusal with this code: its HTTP status is the SQLSTATE, PT and three digits.
create or replace function base.refuse(p_code text, p_detail text default null)
returns void
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_refusal constant base.refusal := base.refusal(p_code, p_detail);
begin
    raise exception using
        errcode = 'PT' || v_refusal.status, message = p_code, detail = v_refusal.detail;
end
$$;

alter function base.refuse owner to mana_owner;
revoke all on function base.refuse from public;
grant execute on function base.refuse to mana_auth, mana_ledger, mana_payments, mana_api;
