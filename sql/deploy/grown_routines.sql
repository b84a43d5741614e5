-- Called by apply, once it has written all functions.
--
-- Returns the statements by which a stale routine makes way for one of the same name that takes all of its
-- parameters and, with defaults, more. Beside it, calls of the release before would go on to the stale one, or be
-- ambiguous. The next deploy drops it, as stale_routines has it.
--
-- $1  the schemas
select format(
           'alter routine %s rename to %I', former.oid::regprocedure, 'former_' || former.proname || '_' || former.oid
       )
  from pg_proc as former
  join pg_namespace as n on n.oid = former.pronamespace
  join pg_proc as grown on grown.pronamespace = former.pronamespace and grown.proname = former.proname
 where n.nspname = any($1::text[])
   and age(former.xmin) >= 0
   and age(grown.xmin) < 0
   and former.pronargs between grown.pronargs - grown.pronargdefaults and grown.pronargs - 1
   and (grown.proargtypes::oid[])[:former.pronargs - 1] = (former.proargtypes::oid[])[:]
   and grown.proargnames[:former.pronargs] = coalesce(former.proargnames[:former.pronargs], '{}');
