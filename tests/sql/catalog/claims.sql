-- Every api function for a user, found in the catalog: it asks auth.begin_request first, so that a
-- function that forgot to fails here.
begin;
\ir ../setup.psql
select plan(11);

select make_users('ada', 'bob', 'cleo', 'dora');
update auth.sessions set revoked_at = base.clock() where id = session_of('cleo');
select auth.set_disabled(email_of('dora'), true);
update auth.sessions set revoked_at = null where id = session_of('dora');
select auth.begin_anonymous_request('') \gset

create table tap.routes as
select p.oid::regproc::text as name, p.proargnames[1] = 'p_user_ids' as for_many,
       repeat(', null', p.pronargs - 3) as more
  from pg_proc as p
 where p.pronamespace = 'api'::regnamespace
   and p.proargnames[1:2] in (array['p_user_id', 'p_claims'], array['p_user_ids', 'p_claims']);
grant select on tap.routes to public;

-- How each is refused: it raises, or answers with the code.
create function tap.refusals(p_name text, p_claims text)
returns table (route text, refused text)
language plpgsql
as $$
declare
    v_route record;
    v_reply api.reply;
begin
    for v_route in select * from tap.routes loop
        route := v_route.name;
        begin
            execute format(
                case when v_route.for_many then 'select (r).* from %s(array[%L]::uuid[], array[%L], array[%L]%s) as r'
                     else 'select (r).* from %s(%L, %L, %L%s) as r' end,
                v_route.name, tap.id_of(p_name), p_claims, '{}', v_route.more
            ) into v_reply;
            refused := coalesce(
                'PT' || v_reply.status || ' ' || (v_reply.body ->> 'code'), v_reply.body ->> 'error', 'not refused'
            );
        exception
            when others then
                refused := sqlstate || ' ' || sqlerrm;
        end;
        return next;
    end loop;
end
$$;

create function tap.all_refused_ok(p_name text, p_claims text, p_message text, p_description text)
returns text
language sql
as $$
    select is_empty(
        format(
            $q$ select * from refusals(%L, %L)
                 where refused <> case when route = 'api.validate' then %3$L else 'PT401 ' || %3$L end $q$,
            p_name, p_claims, p_message
        ),
        p_description
    )
$$;

set local role mana_gateway;

select cmp_ok((select count(*) from routes), '>=', 7::bigint, 'the routes that act for a user are found');

-- Anonymous
select all_refused_ok('ada', null, 'invalid_token', 'all refuse a call without claims');
select all_refused_ok('nobody', '{}', 'invalid_token', 'all refuse a call for nobody');

-- Another user
select all_refused_ok('ada', claims_of('bob'), 'invalid_token', 'all refuse another user''s claims');

-- The owner, whose session or account has ended
select all_refused_ok('cleo', claims_of('cleo'), 'session_ended', 'all refuse a revoked session');
select all_refused_ok('dora', claims_of('dora'), 'account_disabled', 'all refuse a disabled user');
select all_refused_ok(
    'ada', claims_of('ada', 'admin'), 'role_changed', 'all refuse a role that the user does not have'
);

-- What an error leaves behind
reset role;
select is(auth.uid(), null, 'a refusal leaves no user behind');
select is(nullif(current_setting('request.context', true), ''), null, 'and no context');
select get_balance(id_of('ada'), 'no JSON', '{"ip": "192.0.2.7"}') \gset
select is(
    (auth.uid(), current_setting('request.context'))::text, '(,"")', 'nor does a refusal that is a reply'
);
select ledger_is_sound();

select * from finish();
rollback;
