-- Called by GET /api/v1/credits/balance when calls of several users wait.
--
-- api.get_balance for many users: the arrays have an element for each call, and so has the answer, in
-- the same order. A null answer stands for a call that has to be made alone.
create or replace function api.get_balance_batch(p_user_ids uuid[], p_claims text[], p_contexts text[])
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
      from unnest(v_user_ids) with ordinality as asked (user_id, position)
      left join (
          select b.user_id, (api.get_balance_answer(b.summary)).*
            from credits.get_balance_batch(v_user_ids) as b
      ) as answer on answer.user_id = asked.user_id
     order by asked.position;
end
$$;

alter function api.get_balance_batch owner to mana_owner;
revoke all on function api.get_balance_batch from public;
grant execute on function api.get_balance_batch to mana_gateway;
