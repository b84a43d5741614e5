-- Called by POST /api/v1/credits/use when calls of several users wait.
--
-- api.use_credits for many users: the arrays have an element for each call, and so has the answer, in
-- the same order. A null answer stands for a call that has to be made alone.
create or replace function api.use_credits_batch(
    p_user_ids          uuid[],
    p_claims            text[],
    p_contexts          text[],
    p_amounts           bigint[],
    p_app_ids           text[],
    p_descriptions      text[],
    p_idempotency_keys  text[],
    p_metadata          jsonb[],
    p_expected_versions bigint[]
)
returns setof api.response
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
as $$
declare
    v_user_ids constant uuid[] := auth.begin_requests(p_user_ids, p_claims);
begin
    return query
    select answer.status, answer.body, answer.headers
      from generate_subscripts(v_user_ids, 1) as asked (place)
      left join (
          select u.place, (api.use_credits_answer(u.receipt)).*
            from credits.use_credits_batch(
                     v_user_ids, p_amounts, p_app_ids, p_descriptions, p_idempotency_keys, p_metadata,
                     p_expected_versions
                 ) as u
      ) as answer on answer.place = asked.place
     order by asked.place;
end
$$;

alter function api.use_credits_batch owner to mana_owner;
revoke all on function api.use_credits_batch from public;
grant execute on function api.use_credits_batch to mana_gateway;
