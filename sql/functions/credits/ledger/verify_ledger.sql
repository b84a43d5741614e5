-- Called by administrators, by mana ledger verify and by members of mana_reader.
--
-- The full check: compares every user, balance, transaction and entry with the others, and with what
-- credits.check_ledger found sound before. Returns what _credits.find_discrepancies does. It reads
-- all and writes nothing, so it runs in a restored copy and on a standby as well.
--
-- It cannot see free text that was replaced (description, metadata, a key, an app), nor that all
-- rows are gone with the users and the checks. For the latter `mana maintain` keeps marks outside
-- the database.
create or replace function credits.verify_ledger()
returns table (user_id uuid, transaction_id uuid, problem text, detail text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select * from _credits.find_discrepancies(p_new_only => false)
$$;

alter function credits.verify_ledger owner to mana_auditor;
revoke all on function credits.verify_ledger from public;
grant execute on function credits.verify_ledger to mana_reader;
