-- _credits.is_app_id: what is the name of an app, for a spend and for a backend alike.
begin;
\ir ../../setup.psql
select plan(12);

set local role mana_ledger;

select ok(_credits.is_app_id(app_id), app_id || ' is one')
  from (values ('chat'), ('Chat-2'), ('com.example.chat_app'), ('7'), (repeat('a', 100))) as c (app_id);
select ok(not _credits.is_app_id(app_id), coalesce(app_id, 'null') || ' is none')
  from (values (null), (''), (repeat('a', 101)), ('*'), ('my app'), ('_chat'), (e'chat\n')) as c (app_id);

select * from finish();
rollback;
