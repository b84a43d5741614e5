-- Called by POST /api/v1/credits/use.
--
-- Answers many users; one is a batch of one. The arrays have an element for each call, and the replies
-- come in the same order. Unless p_wait, a null reply stands for a call whose balance is locked: it has
-- to be made again. Gateways of release 0.1 do not name p_wait, and wait for a lone caller.
--
-- Returns  401 as auth.begin_requests does, then what credits.spend_all refuses
create or replace function api.use_credits(
    p_user_ids          uuid[],
    p_claims            text[],
    p_contexts          text[],
    p_amounts           bigint[],
    p_app_ids           text[],
    p_descriptions      text[],
    p_idempotency_keys  text[],
    p_metadata          jsonb[],
    p_expected_versions bigint[],
    p_wait              boolean default null
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
                   when s.code = 'insufficient_credits' then api.refused(s.code, s.detail, json_build_object(
                       'required', (s.receipt).amount, 'available', (s.receipt).balance_before
                   ))
                   when s.code is not null then api.refused(s.code, s.detail)
                   when s.place is not null
                       then api.ok(
                           api.spend(s.receipt),
                           case when (s.receipt).replayed then json_build_object('Idempotency-Replayed', 'true') end
                       )
               end as reply
          from unnest(v_callers) with ordinality as c
          left join credits.spend_all(
              array(
                  select row(
                             place, v_callers[place].user_id, p_amounts[place], p_app_ids[place],
                             p_descriptions[place], p_idempotency_keys[place], p_metadata[place],
                             p_expected_versions[place]
                         )::credits.spend_request
                    from generate_subscripts(v_callers, 1) as place
                   where v_callers[place].user_id is not null
              ),
              p_wait => coalesce(p_wait, cardinality(p_user_ids) = 1)
          ) as s on s.place = c.ordinality
    )
    select (a.reply).* from answered as a order by a.place;
end
$$;

alter function api.use_credits(
    uuid[], text[], text[], bigint[], text[], text[], text[], jsonb[], bigint[], boolean
) owner to mana_api;
revoke all on function api.use_credits(
    uuid[], text[], text[], bigint[], text[], text[], text[], jsonb[], bigint[], boolean
) from public;
grant execute on function api.use_credits(
    uuid[], text[], text[], bigint[], text[], text[], text[], jsonb[], bigint[], boolean
) to mana_gateway;
