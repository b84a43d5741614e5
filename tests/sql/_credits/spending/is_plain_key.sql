-- _credits.is_plain_key: keys that look different are different.
begin;
\ir ../../setup.psql
select plan(20);

set local role mana_ledger;

select ok(_credits.is_plain_key(key), description)
  from (values
      (null, 'no key is fine'), ('k', 'one character is a key'), ('0e7c3b1a-6f2d', 'so is an id'),
      ('order 5, part 2', 'blanks may be between others'), ('Bestellung-für-Ömer', 'letters of any language are visible'),
      ('注文5', 'so are ideographs'), ('"abc"', 'and quotes'), (repeat('k', 255), 'a long one is a key')
  ) as c (key, description);
select ok(not _credits.is_plain_key(key), description)
  from (values
      (' ', 'a blank is refused'), ('   ', 'so are more'), (' k', 'a blank at the start is refused'),
      ('k ', 'so is one at the end'), (e'k\tk', 'a tab is refused'), (e'k\n', 'so is a line end'),
      (e'\u0085', 'a control character of Latin 1 is refused'), (e'\u00a0', 'so is a blank that does not break'),
      (e'k\u200b', 'a character without width is refused'), (e'\u202ek', 'so is one that turns the text around'),
      (e'\ufeff', 'a byte order mark is refused'), (e'\u3164', 'so is a filler')
  ) as c (key, description);

select * from finish();
rollback;
