-- Called by auth.begin_request, api.get_balance, api.use_credits and api.validate, first.
--
-- Makes those of p_user_ids the users of this transaction whose claims, at the same place in p_claims,
-- still hold; the gateway has checked the signatures. Returns for each place who calls: the user, or
-- the code of a refusal. Policies then show the rows of these users and of nobody else.
--
-- p_contexts of a lone caller, a JSON object with ip, userAgent and requestId, tells where the request
-- came from. Of several callers the claims of one may be unreadable: then the
-- function lets nobody in and refuses nobody, and each has to call alone.
--
-- Refuses  401 invalid_token      no claims, claims that cannot be read, or those of somebody else
--          401 session_ended      revoked, expired or unknown session, deleted user
--          401 account_disabled
--          401 role_changed       the token's role is not the user's any more
create or replace function auth.begin_requests(p_user_ids uuid[], p_claims text[], p_contexts text[])
returns auth.caller[]
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_alone   constant boolean := cardinality(p_user_ids) = 1;
    v_callers auth.caller[];
    v_set     text;
begin
    v_set := set_config('request.context', '', true);
    v_set := set_config('request.user_ids', array_to_string(p_user_ids, ' '), true);

    begin
        with asked as materialized (
            select o.user_id, o.place, o.claims ->> 'sub' as sub,
                   (o.claims ->> 'sessionId')::uuid as session_id, o.claims ->> 'role' as role
              from unnest(p_user_ids, p_claims::json[]) with ordinality as o (user_id, claims, place)
        )
        select array_agg(
                   row(case when judged.code is null then a.user_id end, judged.code)::auth.caller order by a.place
               )
          into v_callers
          from asked as a
          left join auth.sessions as s on s.user_id = a.user_id and s.id = a.session_id
          left join auth.users as u on u.id = s.user_id
         cross join lateral (
             select case
                 when a.user_id is null or a.sub is distinct from a.user_id::text then 'invalid_token'
                 else _auth.session_refusal(
                     s.revoked_at, s.expires_at, u.deleted_at, u.disabled_at, u.role, a.role
                 )
             end as code
         ) as judged;
    exception
        when data_exception or program_limit_exceeded then  -- no JSON, no UUID, or nested too deeply
            v_callers := array_fill(
                row(null, case when v_alone then 'invalid_token' end)::auth.caller,
                array[coalesce(cardinality(p_user_ids), 0)]
            );
    end;

    if v_alone and v_callers[1].user_id is not null then
        v_set := set_config('request.context', coalesce(p_contexts[1], ''), true);
        perform _auth.assume_users(p_user_ids, p_claims[1]);
    else
        perform _auth.assume_users(array(select c.user_id from unnest(v_callers) as c));
    end if;
    return v_callers;
end
$$;

alter function auth.begin_requests(uuid[], text[], text[])
    owner to mana_auth;
revoke all on function auth.begin_requests(uuid[], text[], text[])
    from public;
grant execute on function auth.begin_requests(uuid[], text[], text[])
    to mana_api;
