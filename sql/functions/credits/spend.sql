-- Called by credits.try_to_use_credits and credits.use_credits_batch, with the balance rows locked.
--
-- Spends credits of many users, one spending each, free ones first. Returns for each spending, by its
-- place in the array, the receipt, or why there is none:
--
--   invalid_request         with the field and what is wrong with it in detail
--   idempotency_key_reused  the key was another request's
--   version_conflict        the balance is not at the version the caller decided upon
--   insufficient_credits
--
-- The same idempotency key with the same request is a retry: nothing is charged and the first
-- receipt comes again, replayed. A key is the user's own and lasts for ever; refusals are not kept,
-- so a retry of a refused request is judged anew.
create or replace function credits.spend(p_spendings credits.spending[])
returns table (place bigint, refusal text, detail text, receipt credits.receipt)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    with judged as materialized (
        select s.*, earlier, least(s.amount, b.free_credits_remaining) as from_free,
               case
                   when invalid.detail is not null then 'invalid_request'
                   when earlier.id is not null
                        and (earlier.type, -earlier.amount, earlier.app_id, earlier.description, earlier.metadata)
                            is distinct from
                            ('usage'::credits.transaction_type, s.amount, s.app_id, s.description, s.metadata)
                       then 'idempotency_key_reused'
                   when earlier.id is null and s.expected_version <> coalesce(s.found_version, b.version)
                       then 'version_conflict'
                   when earlier.id is null and s.amount > b.balance + b.free_credits_remaining
                       then 'insufficient_credits'
               end as refusal,
               invalid.detail
          from unnest(p_spendings) with ordinality as s (
                   user_id, amount, app_id, description, idempotency_key, metadata,
                   expected_version, found_version, place
               )
          join credits.balances as b on b.user_id = s.user_id
          left join credits.transactions as earlier
            on earlier.user_id = s.user_id and earlier.idempotency_key = s.idempotency_key
         cross join lateral (
             select case
                 when s.amount is null or s.amount not between 1 and 1000000000
                     then 'amount: must be a whole number from 1 to 1000000000.'
                 when s.app_id is null or length(s.app_id) not between 1 and 100
                     then 'appId: must have 1 to 100 characters.'
                 when s.description is null or length(s.description) not between 1 and 500
                     then 'description: must have 1 to 500 characters.'
                 when length(s.idempotency_key) not between 1 and 255
                     then 'idempotencyKey: must have 1 to 255 characters.'
                 when jsonb_typeof(s.metadata) <> 'object'
                     then 'metadata: must be an object.'
             end as detail
         ) as invalid
    ), posted as (
        select p.*
          from (
              select array_agg(
                         row(
                             j.user_id, 'usage', 'usage', -j.from_free, j.from_free - j.amount,
                             j.description, j.app_id, j.metadata, j.idempotency_key, null, null
                         )::credits.movement
                     ) as movements
                from judged as j
               where j.refusal is null and (j.earlier).id is null
          ) as due
         cross join lateral credits.post_movements(due.movements) as p
    )
    select j.place, j.refusal, j.detail,
           case
               when j.refusal is not null then null
               when (j.earlier).id is not null then credits.receipt(j.earlier, p_replayed => true)
               else credits.receipt(p)
           end
      from judged as j
      left join posted as p on p.user_id = j.user_id;
end
$$;

alter function credits.spend owner to mana_ledger;
revoke all on function credits.spend from public;
grant execute on function credits.spend to mana_ledger;
