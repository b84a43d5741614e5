-- Called by apply, once it has written all functions.
--
-- Returns the routines that no file defines any more. Apply writes the files in a savepoint and revokes
-- privileges before it, so a routine that is as old as this transaction, or older, has no file.
--
-- $1  the schemas
select p.oid::regprocedure::text
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace
 where n.nspname = any($1::text[]) and age(p.xmin) >= 0;
