-- base.uuid_v7: RFC 9562, section 5.7, with the fraction of section 6.2, method 3.
begin;
\ir ../../setup.psql
select plan(9);

create function tap.at_microsecond(p_n int) returns timestamptz language sql immutable as $$
    select '2030-01-01 00:00:00.999Z'::timestamptz + p_n * interval '1 microsecond'
$$;

create table tap.ids as
select n, at_microsecond(n) as moment, base.uuid_v7(at_microsecond(n)) as id from generate_series(0, 2000) as n;

select is_empty($$ select id from ids where substr(id::text, 15, 1) <> '7' $$, 'the version is 7');
select is_empty(
    $$ select id from ids where substr(id::text, 20, 1) not in ('8', '9', 'a', 'b') $$, 'the variant is that of the RFC'
);

select is_empty(
    'select * from (select id, lag(id) over (order by n) as earlier from ids) as i where id <= earlier',
    'moments a microsecond apart sort as they happened, also from one millisecond into the next'
);

create function tap.bits(p_id uuid, p_from int, p_count int) returns bigint language sql as $$
    select ('x' || lpad(substr(replace(p_id::text, '-', ''), p_from, p_count), 16, '0'))::bit(64)::bigint
$$;

select is_empty(
    'select id from ids where bits(id, 1, 12) <> floor(extract(epoch from moment) * 1000)',
    'the first 48 bits are the milliseconds since 1970'
);
select is_empty(
    'select id from ids where bits(id, 14, 3) <> floor(extract(microseconds from moment) % 1000 * 4096 / 1000)',
    'the next 12 bits are the microseconds, in steps of 1/4096 ms'
);

select is(count(distinct base.uuid_v7(at_microsecond(0))), 1000::bigint, 'ids of one moment differ')
  from generate_series(1, 1000) as n;
select is(
    count(distinct substr(base.uuid_v7(at_microsecond(0))::text, 1, 18)), 1::bigint,
    'and begin alike: only the last 62 bits are drawn'
) from generate_series(1, 100) as n;

select is(base.uuid_v7(null), null, 'no moment, no id');
select matches(base.uuid_v7('1970-01-01 00:00Z')::text, '^00000000-0000-7000-', 'the first moment is all zeros');

select * from finish();
rollback;
