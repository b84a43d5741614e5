-- base.is_readable and base.visible: whether people see anything of a text, and what.
begin;
\ir ../../setup.psql
select plan(17);

select ok(base.is_readable(text), description)
  from (values
      (null, 'no text is fine'), ('a', 'a letter is readable'), (' . ', 'so is a point between blanks'),
      ('Ö', 'and a letter of another language'), ('注文', 'and an ideograph'), (e'\U0001f600', 'and an emoji'),
      (e'\u200ba\u200b', 'and a letter between characters without width')
  ) as c (text, description);
select ok(not base.is_readable(text), description)
  from (values
      ('', 'an empty text is not'), ('   ', 'nor are blanks'), (e' \t\r\n', 'nor is white space'),
      (e'\u00a0\u2003\u3000', 'nor are blanks of other widths'), (e'\u200b\ufeff', 'nor is what has no width'),
      (e'\u0001\u0085', 'nor are control characters'), (e'\u3164\u2800', 'nor are fillers')
  ) as c (text, description);

select is(base.visible(null), null, 'nothing is seen of no text');
select is(base.visible(e'a b\u202e\u200b\u00f6\n'), 'a bö', 'what is invisible or turns a text around goes');
select is(base.visible(' plain text '), ' plain text ', 'a plain text stays as it is');

select * from finish();
rollback;
