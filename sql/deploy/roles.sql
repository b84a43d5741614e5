-- Called by apply, at its end.
--
-- Returns what a role of ours may do beyond the files: attributes that go around row-level security or make
-- others' rights one's own, and memberships.
--
-- $1  the schemas (unused)
-- $2  the roles
select r.rolname || ' must be ' || must.be as difference
  from pg_roles as r
 cross join lateral (values
     (r.rolsuper, 'nosuperuser'), (r.rolbypassrls, 'nobypassrls'), (r.rolcreaterole, 'nocreaterole'),
     (r.rolcreatedb, 'nocreatedb'), (r.rolreplication, 'noreplication'),
     (r.rolcanlogin and r.rolname not in ('mana_gateway', 'mana_worker'), 'nologin'),
     (not r.rolcanlogin and r.rolname in ('mana_gateway', 'mana_worker'), 'login')
 ) as must (wrong, be)
 where $1::text[] is not null and r.rolname = any($2::text[]) and must.wrong
union all
select m.member::regrole || ' must not be a member of ' || m.roleid::regrole
  from pg_auth_members as m
 where m.member = any($2::text[]::regrole[])
