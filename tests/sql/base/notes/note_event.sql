-- base.note_event and base.take_notes, and what is noted by whom.
begin;
\ir ../../setup.psql
select plan(10);

create function tap.events() returns text language sql as $$
    select current_setting('request.events', true)
$$;

select is(nullif(events(), ''), null, 'a transaction begins without events');
select make_users('ada');
select auth.register_user(email_of('bob'), digest_of('bob'));
select is(events(), 'signup_bonus=150 registered', 'what registering did is noted');
select auth.log_in(email_of('bob'), digest_of('bob'), null, null, '7 days');
select is(base.take_notes(), 'signup_bonus=150 registered logged_in', 'and taken together with what followed');
select is(base.take_notes(), '', 'once');

set local role mana_ledger;
select base.note_event('first');
select base.note_event('second', 5);
reset role;
select is(events(), 'first second=5', 'events follow each other, an amount with its event');

select base.take_notes() \gset
select auth.log_in(email_of('ada'), 'a wrong digest', null, null, '7 days');
select is(events(), 'login_failed', 'a login that fails is noted');

select base.take_notes() \gset
select auth.refresh_session(id_of('ada'), token_of('ada'), '7 days');
select is(events(), '', 'a refresh is not noted');
select set_clock('2030-01-01 01:00Z');
select auth.refresh_session(id_of('ada'), token_of('ada'), '7 days');
select is(events(), 'refresh_token_reused', 'the reuse of a token is noted');

select base.take_notes() \gset
select set_clock('2030-01-02 01:00Z');
select auth.act_as(id_of('ada'));
select credits.get_balance();
select is(events(), 'daily_grant=5', 'a grant is noted with its amount');
select base.take_notes() \gset
select credits.get_balance();
select is(events(), '', 'and once');

select * from finish();
rollback;
