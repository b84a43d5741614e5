-- Called by apply, before it creates anything.
--
-- Returns what is granted to others on each new object of the administrator or of mana_owner, so that no file says it.
--
-- $1  the schemas
select format(
    'default privileges of %s grant %s on new %s to %s', d.defaclrole::regrole, lower(a.privilege_type),
    case d.defaclobjtype
        when 'r' then 'tables'
        when 'S' then 'sequences'
        when 'f' then 'functions'
        when 'T' then 'types'
        when 'n' then 'schemas'
        else 'objects'
    end, a.grantee::regrole
) as difference
  from pg_default_acl as d
 cross join lateral aclexplode(d.defaclacl) as a
 where d.defaclrole = any(array[current_user::regrole, to_regrole('mana_owner')])
   and (d.defaclnamespace = 0 or d.defaclnamespace::regnamespace::text = any($1::text[]))
   and a.grantee not in (0, d.defaclrole)
