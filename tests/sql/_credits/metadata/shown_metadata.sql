-- _credits.shown_metadata: what was stored before metadata was bounded, as lists show it.
begin;
\ir ../../setup.psql
select plan(12);

set local role mana_ledger;

select is(_credits.shown_metadata(null), null, 'no metadata stays none');
select is(_credits.shown_metadata(metadata::jsonb), metadata::jsonb, description)
  from (values
      ('{"a": [1, {"b": "c"}]}', 'metadata is shown as it is'),
      ('[1]', 'also what would be refused today'),
      (jsonb_build_object('a', repeat('x', 900000 / 14))::text, 'also more than would be taken today'),
      (format('{"a": "%s", "b": [%s1]}', repeat('x', 20642), repeat('1e308,', 3149)), '1,000,000 bytes are shown'),
      ('{"a":' || repeat('[', 31) || repeat(']', 31) || '}', 'so are 32 levels')
  ) as c (metadata, description);
select is(_credits.shown_metadata(metadata::jsonb), '{"omitted": true}', description)
  from (values
      (format('{"a": [%s1]}', repeat('1e308,', 10700)), '64 KB that are shown as 3.3 MB are omitted'),
      (jsonb_build_object('a', repeat('x', 8000000))::text, 'so are 8 MB'),
      (format('{"a": [%s1]}', repeat('1e131071,', 7000)), 'and 880 MB of digits'),
      ('{"a":' || repeat('[', 300) || repeat(']', 300) || '}', 'so is what is deeper than clients read'),
      ('{"a":' || repeat('[', 32) || repeat(']', 32) || '}', 'by one level'),
      (format('{"a": "%s", "b": [%s1]}', repeat('x', 20643), repeat('1e308,', 3149)), 'and one byte more than 1,000,000')
  ) as c (metadata, description);

select * from finish();
rollback;
