-- Called by credits.spend_all, with the balance rows locked.
--
-- Spends credits, one request each for as many users, free ones first. Returns for the place of each
-- request the receipt, or the code of a refusal; for lack of credits the receipt has nothing but the
-- amount and, as balance_before, what can be spent. The users in p_granted were granted something
-- after they had decided upon their expected_version.
--
-- The same idempotency key with the same request is a retry: nothing is charged and the first
-- receipt comes again, replayed. A key belongs to the user and the app and lasts for ever; refusals are not kept,
-- so that the retry of a refused request is decided again.
--
-- Refuses  400 invalid_request         the detail names the parameter
--          422 idempotency_key_reused  the key was another request's
--          409 version_conflict        the balance is not at the version the caller decided upon
--          402 insufficient_credits
create or replace function _credits.spend(p_requests credits.spend_request[], p_granted uuid[])
returns table (place int, code text, detail text, receipt credits.receipt)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    with decided as materialized (
        select r.*, earlier, least(r.amount, b.free_credits_remaining) as from_free,
               case
                   when invalid.detail is not null then 'invalid_request'
                   when earlier.id is not null
                        and (earlier.type, -earlier.amount, earlier.description, earlier.metadata)
                            is distinct from
                            ('usage'::credits.transaction_type, r.amount, r.description, r.metadata)
                       then 'idempotency_key_reused'
                   when earlier.id is null
                        and r.expected_version + (b.user_id = any (p_granted))::int <> b.version
                       then 'version_conflict'
                   when earlier.id is null and r.amount > _credits.spendable(b)
                       then 'insufficient_credits'
               end as code,
               invalid.detail, _credits.spendable(b) as spendable
          from unnest(p_requests) as r
          join credits.balances as b on b.user_id = r.user_id
          left join credits.transactions as earlier
            on earlier.user_id = r.user_id
           and earlier.idempotency_key = r.idempotency_key
           and earlier.app_id = r.app_id
         cross join lateral (
             select case
                 when r.amount is null or r.amount not between 1 and 1000000000
                     then 'amount: must be a whole number from 1 to 1000000000.'
                 when not _credits.is_app_id(r.app_id)
                     then 'app_id: must have 1 to 100 letters and digits of ASCII, with . _ - after the first.'
                 when r.description is null or length(r.description) not between 1 and 500
                     then 'description: must have 1 to 500 characters.'
                 when not base.is_readable(r.description)
                     then 'description: must have a visible character.'
                 when length(r.idempotency_key) not between 1 and 255
                     then 'idempotency_key: must have 1 to 255 characters.'
                 when not _credits.is_plain_key(r.idempotency_key)
                     then 'idempotency_key: must have visible characters only, with blanks between them.'
                 when r.metadata is not null
                     then 'metadata: ' || _credits.metadata_error(r.metadata)
             end as detail
         ) as invalid
    ), posted as (
        select p.*
          from (
              select array_agg(
                         row(
                             d.user_id, 'usage', 'usage', -d.from_free, d.from_free - d.amount,
                             d.description, d.app_id, d.metadata, d.idempotency_key, null, null
                         )::credits.movement
                     ) as movements
                from decided as d
               where d.code is null and (d.earlier).id is null
          ) as due
         cross join lateral _credits.post_movements(due.movements) as p
    )
    select d.place, d.code,
           case
               when d.code = 'insufficient_credits' then format(
                   'Insufficient credits: %s required, %s available.', d.amount, d.spendable
               )
               else d.detail
           end,
           case
               when d.code = 'insufficient_credits' then json_populate_record(null::credits.receipt, json_build_object(
                   'amount', d.amount, 'balance_before', d.spendable
               ))
               when d.code is not null then null
               when (d.earlier).id is not null then _credits.receipt(d.earlier, p_replayed => true)
               else _credits.receipt(p)
           end
      from decided as d
      left join posted as p on p.user_id = d.user_id;
end
$$;

alter function _credits.spend owner to mana_ledger;
revoke all on function _credits.spend from public;
grant execute on function _credits.spend to mana_ledger;
