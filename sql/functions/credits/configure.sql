-- Called by administrators (mana migrate, from CREDITS_SIGNUP_BONUS and CREDITS_DAILY_FREE).
--
-- Sets the amounts of the grants, for all users from now on; null leaves one as it is.
create or replace function credits.configure(
    p_signup_bonus       bigint default null,
    p_daily_free_credits bigint default null
)
returns credits.settings
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_settings credits.settings;
begin
    update credits.settings
       set signup_bonus = coalesce(p_signup_bonus, signup_bonus),
           daily_free_credits = coalesce(p_daily_free_credits, daily_free_credits),
           updated_at = auth.clock()
    returning * into strict v_settings;
    return v_settings;
end
$$;

alter function credits.configure owner to mana_ledger;
revoke all on function credits.configure from public;
