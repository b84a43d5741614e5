-- Called by the api functions that answer many users at once, first.
--
-- Makes those of p_user_ids the users of this transaction whose claims, at the same place in p_claims,
-- are true as auth.begin_request has it. Returns p_user_ids with null in the place of the others: one
-- user may come with two sessions, and only one of them be alive. Policies then show the rows of these
-- users and of nobody else; auth.uid() is null.
-- When claims cannot be read, nobody is let in.
create or replace function auth.begin_requests(p_user_ids uuid[], p_claims text[])
returns uuid[]
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_user_ids uuid[];
    v_set      text;
begin
    v_set := set_config('request.jwt.claims', '', true);
    v_set := set_config('request.context', '', true);
    v_set := set_config('request.user_ids', array_to_string(p_user_ids, ' '), true);

    begin
        with asked as materialized (
            select o.user_id, o.place, o.claims ->> 'sub' as sub,
                   (o.claims ->> 'sessionId')::uuid as session_id, o.claims ->> 'role' as role
              from unnest(p_user_ids, p_claims::json[]) with ordinality as o (user_id, claims, place)
        )
        select array_agg(session.user_id order by a.place)
          into v_user_ids
          from asked as a
          left join lateral (
              select s.user_id
                from auth.sessions as s
                join auth.users as u on u.id = s.user_id
               where s.user_id = a.user_id
                 and s.id = a.session_id
                 and auth.session_refusal(
                         s.revoked_at, s.expires_at, u.deleted_at, u.disabled_at, u.role, a.role
                     ) is null
          ) as session on a.sub = a.user_id::text;
    exception
        when data_exception or program_limit_exceeded then  -- no JSON, no UUID, or nested too deeply
            v_user_ids := array_fill(null::uuid, array[coalesce(cardinality(p_user_ids), 0)]);
    end;

    v_set := set_config('request.user_ids', coalesce(array_to_string(v_user_ids, ' '), ''), true);
    return v_user_ids;
end
$$;

alter function auth.begin_requests owner to mana_auth;
revoke all on function auth.begin_requests from public;
grant execute on function auth.begin_requests to mana_gateway;
