-- Called by administrators (mana run, mana migrate apply --seed).
--
-- Puts packages on sale unless there are some, and returns how many it made. Of two calls at once, one makes them.
create or replace function credits.seed_packages()
returns int
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := base.clock();
    v_count int;
begin
    insert into credits.packages (id, name, description, credits, price_euro_cents, sort_order, created_at, updated_at)
    select base.uuid_v7(v_now), p.name, p.description, p.credits, p.price_euro_cents, p.sort_order, v_now, v_now
      from (values
          ('Starter', 'A first look', 100, 100, 1),
          ('Basic', 'For now and then', 500, 450, 2),
          ('Pro', 'For every day', 1000, 800, 3),
          ('Studio', 'For a whole team', 5000, 3500, 4)
      ) as p (name, description, credits, price_euro_cents, sort_order)
     where not exists (select from credits.packages)
        on conflict (name) do nothing;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

alter function credits.seed_packages owner to mana_ledger;
revoke all on function credits.seed_packages from public;
