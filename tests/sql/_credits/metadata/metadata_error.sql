-- _credits.metadata_error: what a request may say in its metadata, in the text that lists will show.
begin;
\ir ../../setup.psql
select plan(22);

set local role mana_ledger;

select is(_credits.metadata_error(metadata::jsonb), null, description)
  from (values
      ('{}', 'an empty object is taken'),
      ('{"a": [1, 2.5, "b", null, true, {"c": {}}]}', 'so is anything in an object'),
      ('{"a": 1e308}', 'a number in the range of a double is taken'),
      ('{"a": 1e-400}', 'so is one that is nearer to zero than a double can be'),
      ('{"a": 0.1234567890123456789}', 'and one with more digits than a double has'),
      (jsonb_build_object('a', repeat('x', 4096 - 9))::text, 'a text of 4096 bytes is taken'),
      (jsonb_build_object('a', repeat('€', (4096 - 9) / 3))::text, 'bytes are counted, not characters'),
      (repeat('{"a":', 31) || '{}' || repeat('}', 31), '32 levels are taken'),
      (repeat('{"a":', 30) || '[1]' || repeat('}', 30), 'also if the last one is a value in an array'),
      (format('{"a": [%s0]}', repeat('0,', 1360)), 'so are as many numbers as fit')
  ) as c (metadata, description);

select is(_credits.metadata_error(metadata::jsonb), error, description)
  from (values
      ('[]', 'must be an object.', 'an array is refused'),
      ('null', 'must be an object.', 'the JSON null is refused'),
      (jsonb_build_object('a', repeat('x', 4096 - 8))::text,
       'must have at most 4096 bytes as PostgreSQL writes it.', '4097 bytes are refused'),
      (jsonb_build_object('a', repeat(e'\x01', 700))::text,
       'must have at most 4096 bytes as PostgreSQL writes it.', 'a control character counts as it is written'),
      (format('{"a": [%s1e308]}', repeat('1e308,', 13)),
       'must have at most 4096 bytes as PostgreSQL writes it.', 'a short number counts with all its digits'),
      ('{"a": 1e-4096}',
       'must have at most 4096 bytes as PostgreSQL writes it.', 'also those after the point'),
      (format('{"a": [%s0e-16383]}', repeat('0e-16383,', 1500)),
       'must have at most 4096 bytes as PostgreSQL writes it.', 'also those of a zero'),
      ('{"a": {"b": [1.8e308]}}', 'has a number out of range.', 'a number that no double can be is refused'),
      ('{"a": -1e131071}', 'has a number out of range.', 'so is a negative one'),
      (repeat('{"a":', 32) || '1' || repeat('}', 32),
       'must not be nested deeper than 32 levels.', 'a value at level 33 is refused'),
      ('{"a":' || repeat('[', 3000) || repeat(']', 3000) || '}',
       'must have at most 4096 bytes as PostgreSQL writes it.', 'so are 3000 levels')
  ) as c (metadata, error, description);

-- 880 MB of digits, if they were written before they are counted: with this limit that is an error.
set local statement_timeout = '2s';
select is(
    _credits.metadata_error(format('{"a": [%s0]}', repeat('1e131071,', 7000))::jsonb),
    'must have at most 4096 bytes as PostgreSQL writes it.', 'what is far too long is refused without writing it'
);

select * from finish();
rollback;
