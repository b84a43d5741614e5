-- auth.note_event, and what is noted by whom.
begin;
\ir ../setup.psql
select plan(8);

create function tap.events() returns text language sql as $$
    select current_setting('request.events', true)
$$;
create function tap.forget() returns text language sql as $$
    select set_config('request.events', '', true)
$$;

select is(nullif(events(), ''), null, 'a transaction begins without events');
select make_users('ada');
select is(events(), 'signup_bonus=150 registered logged_in', 'what registering and logging in did is noted');

select forget();
set local role mana_ledger;
select auth.note_event('first');
select auth.note_event('second', 5);
reset role;
select is(events(), 'first second=5', 'events follow each other, an amount with its event');

select forget();
select auth.log_in(email_of('ada'), 'a wrong digest', null, null, '7 days');
select is(events(), 'login_failed', 'a login that fails is noted');

select forget();
select auth.refresh_session(id_of('ada'), token_of('ada'), '7 days');
select is(events(), '', 'a refresh is none');
select set_clock('2030-01-01 01:00Z');
select auth.refresh_session(id_of('ada'), token_of('ada'), '7 days');
select is(events(), 'refresh_token_reused', 'the reuse of a token is noted');

select forget();
select set_clock('2030-01-02 01:00Z');
select auth.act_as(id_of('ada'));
select credits.get_balance();
select is(events(), 'daily_grant=5', 'a grant is noted with its amount');
select forget();
select credits.get_balance();
select is(events(), '', 'and once');

select * from finish();
rollback;
