-- Called by GET /api/v1/credits/balance.
--
-- Answers many users; one is a batch of one. The arrays have an element for each call, and the replies
-- come in the same order. Unless p_wait, a null reply stands for a call whose balance is locked: it has
-- to be made again. Gateways of release 0.1 do not name p_wait, and wait for a lone caller.
--
-- Returns  401 as auth.begin_requests does   404 not_found
create or replace function api.get_balance(
    p_user_ids uuid[],
    p_claims   text[],
    p_contexts text[],
    p_wait     boolean default null
)
returns setof api.reply
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_callers constant auth.caller[] := auth.begin_requests(p_user_ids, p_claims, p_contexts);
begin
    return query
    with answered as materialized (
        select c.ordinality as place,
               case
                   when c.code is not null then api.refused(c.code)
                   when b.code is not null then api.refused(b.code, b.detail)
                   when b.user_id is not null then api.ok(api.balance(b.summary))
               end as reply
          from unnest(v_callers) with ordinality as c
          left join credits.get_balances(
              array(select user_id from unnest(v_callers) where user_id is not null),
              p_wait => coalesce(p_wait, cardinality(p_user_ids) = 1)
          ) as b on b.user_id = c.user_id
    )
    select (a.reply).* from answered as a order by a.place;
end
$$;

alter function api.get_balance(uuid[], text[], text[], boolean)
    owner to mana_api;
revoke all on function api.get_balance(uuid[], text[], text[], boolean)
    from public;
grant execute on function api.get_balance(uuid[], text[], text[], boolean)
    to mana_gateway;
