-- Called by api.use_credits_batch.
--
-- Spends credits of many users as credits.try_to_use_credits does for one: the arrays have an element
-- for each spend. Those of one user follow each other, the others are made side by side. Returns the
-- receipts, with the place of the spend, for as many as could be served at once. What is missing
-- has to be done alone: somebody else holds the balance, a daily grant is due, or the answer is a
-- refusal.
--
-- Locks   the users' balance rows; waits for none.
create or replace function credits.use_credits_batch(
    p_user_ids          uuid[],
    p_amounts           bigint[],
    p_app_ids           text[],
    p_descriptions      text[],
    p_idempotency_keys  text[],
    p_metadata          jsonb[],
    p_expected_versions bigint[]
)
returns table (place bigint, receipt credits.receipt)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_locked    uuid[];
    v_spendings credits.spending[];
    v_places    bigint[];
begin
    with locked as (
        select b.user_id
          from credits.balances as b
         where b.user_id = any (p_user_ids)
           and credits.grant_window(b.created_at, greatest(auth.clock(), b.updated_at))
           = credits.grant_window(b.created_at, b.last_daily_reset_at)
           for no key update skip locked
    )
    select array_agg(l.user_id) into v_locked from locked as l;

    for v_spendings, v_places in
        select array_agg(
                   row(
                       s.user_id, s.amount, s.app_id, s.description, s.idempotency_key, s.metadata,
                       s.expected_version, null
                   )::credits.spending
               ),
               array_agg(s.place)
          from (
              select a.*, row_number() over (partition by a.user_id order by a.place) as turn
                from unnest(
                         p_user_ids, p_amounts, p_app_ids, p_descriptions, p_idempotency_keys, p_metadata,
                         p_expected_versions
                     ) with ordinality as a (
                         user_id, amount, app_id, description, idempotency_key, metadata,
                         expected_version, place
                     )
               where a.user_id = any (v_locked)
          ) as s
         group by s.turn
         order by s.turn
    loop
        return query
        select v_places[s.place], s.receipt from credits.spend(v_spendings) as s where s.refusal is null;
    end loop;
end
$$;

alter function credits.use_credits_batch owner to mana_ledger;
revoke all on function credits.use_credits_batch from public;
grant execute on function credits.use_credits_batch to mana_gateway;
