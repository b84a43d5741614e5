-- base.clock, _auth.password_cost: as they are deployed, before the set-up replaces them.
begin;
select base.clock() as moment, _auth.password_cost() as cost, now() as started \gset
select base.clock() as later, clock_timestamp() as after \gset
\ir ../../setup.psql
select plan(3);

select cmp_ok(:'later'::timestamptz, '>', :'moment'::timestamptz, 'the clock goes on within a transaction');
select ok(
    :'moment'::timestamptz between :'started'::timestamptz and :'after'::timestamptz,
    'the clock says the time that it is'
);
select is(:cost, 12, 'bcrypt costs 12');

select * from finish();
rollback;
