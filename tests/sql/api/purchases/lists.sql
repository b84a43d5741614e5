-- api.list_packages, api.list_purchases
begin;
\ir ../../setup.psql
select plan(6);

select make_users('ada', 'bob');
delete from credits.purchases;
delete from credits.packages;
insert into credits.packages
values
    (
        '00000000-0000-0000-0000-000000000001', 'Large', 'A lot', 1000, 800, 'price_1',
        true, 2, base.clock(), base.clock()
    ),
    ('00000000-0000-0000-0000-000000000002', 'Small', null, 100, 100, null, true, 1, base.clock(), base.clock());
insert into credits.purchases
values
    (
        id_of('ada'), '00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000001',
        1000, 800, 'pi_1', 'completed', base.clock(), base.clock() + interval '1500 ms'
    ),
    (id_of('ada'), '00000000-0000-0000-0000-000000000004', null, 1, 1, null, 'pending', base.clock(), null);
set local role mana_gateway;

select is(
    (select (status, body::jsonb, headers)::text from api.list_packages(id_of('ada'), claims_of('ada'), null)),
    (
        200,
        '[{"id": "00000000-0000-0000-0000-000000000002", "name": "Small", "description": null,
           "credits": 100, "priceEuroCents": 100, "sortOrder": 1,
           "active": true, "stripePriceId": null, "metadata": null},
          {"id": "00000000-0000-0000-0000-000000000001", "name": "Large", "description": "A lot",
           "credits": 1000, "priceEuroCents": 800, "sortOrder": 2,
           "active": true, "stripePriceId": "price_1", "metadata": null}]'::jsonb,
        null::json
    )::text,
    'packages are shown in their order, with all their fields'
);
select is(
    (select (status, body::jsonb, headers)::text from api.list_purchases(id_of('ada'), claims_of('ada'), null)),
    (
        200,
        '[{"id": "00000000-0000-0000-0000-000000000004", "packageId": null, "credits": 1, "priceEuroCents": 1,
           "stripePaymentIntentId": null, "status": "pending",
           "createdAt": "2030-01-01T00:00:00.000Z", "completedAt": null},
          {"id": "00000000-0000-0000-0000-000000000003", "packageId": "00000000-0000-0000-0000-000000000001",
           "credits": 1000, "priceEuroCents": 800, "stripePaymentIntentId": "pi_1", "status": "completed",
           "createdAt": "2030-01-01T00:00:00.000Z", "completedAt": "2030-01-01T00:00:01.500Z"}]'::jsonb,
        null::json
    )::text,
    'purchases are shown the newest first, with all their fields'
);
select is(
    (select (status, body::text)::text from api.list_purchases(id_of('bob'), claims_of('bob'), null)), '(200,[])',
    'who bought nothing gets an empty array'
);

reset role;
update credits.packages set active = false;
set local role mana_gateway;
select is(
    (select (status, body::text)::text from api.list_packages(id_of('ada'), claims_of('ada'), null)), '(200,[])',
    'so does everybody when nothing is on sale'
);

-- Times
set local role mana_api;
set local timezone = 'Asia/Tokyo';
select is(
    api.iso_time('2030-01-01 00:00:00.123456Z'), '2030-01-01T00:00:00.123Z',
    'times are UTC with milliseconds, whatever the session''s zone'
);
select is(api.iso_time(null), null, 'no time is null');

select * from finish();
rollback;
