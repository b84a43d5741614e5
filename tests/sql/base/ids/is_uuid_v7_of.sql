-- base.is_uuid_v7_of: it knows every id that base.uuid_v7 makes, and the microsecond it is of.
begin;
\ir ../../setup.psql
select plan(8);

create table tap.ids as
select moment, base.uuid_v7(moment) as id
  from (
      select '1970-01-01 00:00Z'::timestamptz + n * interval '1 microsecond' from generate_series(0, 3000) as n
      union all
      select '1970-01-01 00:00Z'::timestamptz + random() * interval '49000 days' from generate_series(1, 3000)
      union all
      select '2030-01-01 00:00:00.999Z'::timestamptz + n * interval '1 microsecond' from generate_series(0, 3000) as n
  ) as m (moment);

grant select on tap.ids to mana_auditor;
set local role mana_auditor;
select is_empty(
    'select * from ids where base.is_uuid_v7_of(id, moment) is not true', 'an id of any moment until 2104 is known as such'
);
select is_empty(
    $$ select * from ids where base.is_uuid_v7_of(id, moment + interval '1 microsecond') is not false $$,
    'it is of no microsecond before'
);
select is_empty(
    $$ select * from ids where base.is_uuid_v7_of(id, moment - interval '1 microsecond') is not false $$, 'and of none after'
);
select is(base.is_uuid_v7_of(null, now()), false, 'no id is of no moment');
select is(base.is_uuid_v7_of(gen_random_uuid(), null), false, 'no moment has no id');
select is(
    base.is_uuid_v7_of('01a2174a-e3e7-4fff-8000-000000000000', '2026-11-26 07:00:00.999999Z'), false,
    'an id of another version is none'
);
select is(base.is_uuid_v7_of(gen_random_uuid(), now()), false, 'nor is a random one');
select is_empty(
    $$ select * from unnest('{-infinity, 1969-12-31 23:59:59.999999Z, 2106-01-01 Z, 294276-12-31 Z, infinity}'::timestamptz[]) as m (moment)
        where base.is_uuid_v7_of('ffffffff-ffff-7fff-8000-000000000000', moment) is not false $$,
    'no id is of a moment before 1970 or after 2105'
);

select * from finish();
rollback;
