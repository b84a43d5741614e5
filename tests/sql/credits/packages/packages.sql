-- credits.seed_packages, credits.list_packages, credits.metadata_of_package
begin;
\ir ../../setup.psql
select plan(31);

delete from credits.purchases;
delete from credits.packages;
select make_users('ada');

-- Administrators
select is(credits.seed_packages(), 4, 'an empty list of packages is filled');
select results_eq(
    'select sort_order, name, credits, price_euro_cents, active from credits.packages order by sort_order',
    $$ values (1, 'Starter', 100::bigint, 100, true), (2, 'Basic', 500, 450, true),
              (3, 'Pro', 1000, 800, true), (4, 'Studio', 5000, 3500, true) $$,
    'four of them, in euro cents'
);
select is(
    (select count(*) from (
        select lag(price_euro_cents::numeric / credits) over (order by credits)
               < price_euro_cents::numeric / credits as dearer
          from credits.packages
     ) as p where dearer),
    0::bigint, 'a larger one is never dearer by the credit'
);
update credits.packages set active = false where name = 'Basic';
update credits.packages set price_euro_cents = 99, sort_order = 4 where name = 'Starter';
select is(credits.seed_packages(), 0, 'where there are some, none is made');
select is((select price_euro_cents from credits.packages where name = 'Starter'), 99, 'and none is changed');

-- The owner, another user, anonymous: it is the same for all
set local role mana_backend;
select results_eq(
    'select name, price_euro_cents from credits.list_packages()',
    $$ values ('Pro', 800), ('Starter', 99), ('Studio', 3500) $$,
    'what is on sale is listed by its place, then by its price'
);
select auth.act_as(id_of('ada'));
select is((select count(*) from credits.list_packages()), 3::bigint, 'and is the same for a user');
select throws_ok(
    'select credits.seed_packages()', '42501', 'permission denied for function seed_packages', 'a backend may not seed'
);
reset role;

-- What apps keep with a package
insert into credits.package_metadata
select id, '{"badge": "popular"}' from credits.packages where name = 'Pro';
create temp table ids as select name, id from credits.packages;
grant select on ids to mana_backend;
set local role mana_backend;
select is(
    credits.metadata_of_package((select id from ids where name = 'Pro')), '{"badge": "popular"}', 'a backend reads it'
);
select is(
    credits.metadata_of_package((select id from ids where name = 'Studio')), null, 'a package may be without'
);
select is(credits.metadata_of_package(gen_random_uuid()), null, 'so is a package that is not there');
select throws_ok(
    'select from credits.package_metadata', '42501', 'permission denied for table package_metadata',
    'a backend does not reach the table'
);
reset role;
select is(
    (select api.package(p)::jsonb -> 'metadata' from credits.packages as p where name = 'Pro'), '{"badge": "popular"}',
    'it is shown with its package'
);
select throws_ok(
    $$ insert into credits.package_metadata select id, '[]' from ids where name = 'Studio' $$, '23514', null,
    'it is an object'
);
select throws_ok(
    $$ insert into credits.package_metadata
       select id, jsonb_build_object('a', repeat('x', 4096)) from ids where name = 'Studio' $$,
    '23514', null, 'it is bounded'
);
select lives_ok($$ delete from credits.packages where name = 'Pro' $$, 'it goes with its package');
insert into credits.packages
select id, name, null, 1000, 800, null, true, 3, base.clock(), base.clock() from ids where name = 'Pro';

-- Nothing for sale
update credits.packages set active = false;
select is_empty('select from credits.list_packages()', 'nothing is listed when nothing is on sale');
select is(credits.seed_packages(), 0, 'what was taken off sale does not come back by itself');
delete from credits.packages where name = 'Pro';
select is(credits.seed_packages(), 0, 'nor what was deleted');

-- Managed by administrators
select isnt(
    credits.add_package('Team', 2000, 1500, 'For five', 'price_team', '{"seats": 5}', 9), null, 'a package is added'
);
select results_eq(
    $$ select p.credits, p.price_euro_cents, p.active, credits.metadata_of_package(p.id)
         from credits.packages as p where name = 'Team' $$,
    $$ values (2000::bigint, 1500, true, '{"seats": 5}'::jsonb) $$, 'with all that was said of it'
);
select throws_ok(
    $$ select credits.add_package('Team', 1, 1) $$, 'PT400', 'invalid_request', 'a name is that of one package'
);
select throws_ok(
    $$ select credits.add_package('Other', 1, 1, p_stripe_price_id => 'price_team') $$,
    'PT400', 'invalid_request', 'and so is a price of the provider'
);
select throws_ok($$ select credits.add_package('', 1, 1) $$, 'PT400', 'invalid_request', 'it has a name');
select throws_ok($$ select credits.add_package('X', 0, 1) $$, 'PT400', 'invalid_request', 'credits');
select throws_ok($$ select credits.add_package('X', 1, 0) $$, 'PT400', 'invalid_request', 'and a price');
select throws_ok(
    $$ select credits.add_package('X', 1, 1, p_metadata => '[]') $$, 'PT400', 'invalid_request',
    'what apps keep with it is an object'
);
select credits.change_package('Team', 1400);
select results_eq(
    $$ select price_euro_cents, stripe_price_id, active from credits.packages where name = 'Team' $$,
    $$ values (1400, null::text, true) $$, 'a new price takes the former one of the provider away'
);
select credits.change_package('Team', p_active => false);
select results_eq(
    $$ select price_euro_cents, active from credits.packages where name = 'Team' $$,
    $$ values (1400, false) $$, 'a package that is retired keeps its price'
);
select throws_ok($$ select credits.change_package('None', 1) $$, 'PT404', 'not_found', 'one that is not there is not');
select throws_ok($$ select credits.change_package('Team', 0) $$, 'PT400', 'invalid_request', 'nothing is free');

select * from finish();
rollback;
