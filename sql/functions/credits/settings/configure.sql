-- Called by administrators (mana migrate, from CREDITS_SIGNUP_BONUS and CREDITS_DAILY_FREE).
--
-- Sets the amounts of the grants, for all users from now on; null leaves one as it is.
--
-- Raises  PT400 invalid_request    the detail names the amount
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
    v_invalid  text;
    v_settings credits.settings;
begin
    v_invalid := case
        when p_signup_bonus not between 0 and 1000000000
            then 'signupBonus: must be a whole number from 0 to 1000000000.'
        when p_daily_free_credits not between 0 and 1000000000
            then 'dailyFreeCredits: must be a whole number from 0 to 1000000000.'
    end;
    if v_invalid is not null then
        raise sqlstate 'PT400' using message = 'invalid_request', detail = v_invalid;
    end if;

    update credits.settings
       set signup_bonus = coalesce(p_signup_bonus, signup_bonus),
           daily_free_credits = coalesce(p_daily_free_credits, daily_free_credits),
           updated_at = base.clock()
    returning * into strict v_settings;
    return v_settings;
end
$$;

alter function credits.configure owner to mana_ledger;
revoke all on function credits.configure from public;
