-- The data of tests/bench: users with credits, some of them logged in and with old transactions.
create schema bench;

create table bench.callers (
    n             int primary key,
    user_id       uuid not null,
    email         text not null,
    digest        text not null,
    claims        text not null,
    before        uuid  -- a transaction that has all older ones below it
);

grant usage on schema bench to mana_gateway;
grant select on bench.callers to mana_gateway;

create procedure bench.set_password_cost(p_cost int)
language plpgsql
as $$
begin
    execute format(
        'create or replace function _auth.password_cost() returns int language sql immutable as %L',
        format('select %s', p_cost)
    );
end
$$;

-- Paid credits of the user of this transaction.
create function bench.move(
    p_type credits.transaction_type, p_counter_account credits.account, p_paid bigint, p_description text, p_app_id text
)
returns void
language sql
as $$
    select _credits.post_movements(array[row(
        auth.uid(), p_type, p_counter_account, 0, p_paid, p_description, p_app_id, null, null, null, null
    )::credits.movement])
$$;

create procedure bench.load(p_users int, p_callers int, p_digest text, p_past int, p_depth int)
language plpgsql
as $$
declare
    v_answer json;
begin
    call bench.set_password_cost(4);
    for i in 0 .. p_users - 1 loop
        perform auth.register_user(p_email => format('user%s@example.com', i), p_password_digest => p_digest);
    end loop;

    for i in 0 .. p_callers - 1 loop
        select body into v_answer
          from api.log_in('{}', format('user%s@example.com', i), p_digest, null, null, '7 days');
        insert into bench.callers (n, user_id, email, digest, claims)
        values (
            i, (v_answer -> 'user' ->> 'id')::uuid, v_answer -> 'user' ->> 'email', p_digest, v_answer ->> 'claims'
        );
        perform bench.move('purchase', 'sales', 1000000000, 'For the benchmark', null);
        for j in 1 .. case when i = 0 then p_depth else p_past end loop
            perform bench.move('usage', 'usage', -1, 'The past', 'bench');
        end loop;
    end loop;

    update bench.callers as c
       set before = (
           select t.id from credits.transactions as t where t.user_id = c.user_id order by t.id offset 51 limit 1
       );

    -- Logins are measured at their real cost. All callers have one password, so one hash serves them all.
    call bench.set_password_cost(12);
    update auth.passwords
       set hash = costly.hash
      from (select extensions.crypt(p_digest, extensions.gen_salt('bf', 12)) as hash) as costly
     where user_id in (select user_id from bench.callers);
end
$$;

-- Adds p_rows rows to the ledger, evenly over all users and in the order of time, as if the users had
-- spent in turn: each buys credits, then spends all but one of them one by one. The books stay sound.
-- It works set by set and without checks of foreign keys, which would take most of the time.
--
-- The rows follow the last ones of each user a microsecond apart, so they are in the past when the
-- next request arrives.
create procedure bench.grow(p_rows bigint)
language plpgsql
set session_replication_role = 'replica'
set synchronous_commit = 'off'
as $$
declare
    v_each constant bigint := ceil(p_rows::numeric / (select count(*) from credits.balances));
begin
    for j in 1 .. v_each loop
        with posted as (
            insert into credits.transactions (
                user_id, id, type, amount, balance_before, balance_after, free_after, total_spent_after, version,
                app_id, description, idempotency_key, created_at, completed_at
            )
            select b.user_id, base.uuid_v7(at.time),
                   case when j = 1 then 'purchase' else 'usage' end::credits.transaction_type,
                   move.amount, move.after - move.amount, move.after, b.free_credits_remaining,
                   b.total_spent + j - 1, b.version + j, case when j > 1 then 'bench' end, 'The past', 'past-' || b.version + j,
                   at.time, at.time
              from credits.balances as b
             cross join lateral (
                 select case when j = 1 then v_each else -1 end as amount,
                        b.balance + b.free_credits_remaining + v_each - j + 1 as after
             ) as move
             cross join lateral (select b.updated_at + j * interval '1 microsecond' as time) as at
            returning user_id, id, amount
        )
        insert into credits.ledger_entries (user_id, transaction_id, entry_no, debit_account, credit_account, amount)
        select user_id, id, 2,
               case when amount > 0 then 'sales' else 'paid' end::credits.account,
               case when amount > 0 then 'paid' else 'usage' end::credits.account,
               abs(amount)
          from posted;
    end loop;

    if v_each > 0 then
        update credits.balances
           set balance = balance + 1,
               total_earned = total_earned + v_each,
               total_spent = total_spent + v_each - 1,
               version = version + v_each,
               updated_at = updated_at + v_each * interval '1 microsecond';
    end if;
end
$$;

-- Returns a refresh token of a new session for each caller, because a run uses up its chains.
create function bench.new_refresh_tokens()
returns setof text
language plpgsql
volatile
as $$
declare
    v_user_id uuid;
begin
    for v_user_id in select user_id from bench.callers loop
        perform _auth.assume_users(array[v_user_id]);
        return next (_auth.create_session(null, null, '7 days')).refresh_token;
    end loop;
end
$$;
