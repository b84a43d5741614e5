set local lock_timeout = '1s';

drop schema payments cascade;
drop schema _payments cascade;
drop table credits.causes;
drop type credits.balance_state;

alter table credits.transactions
    add constraint transactions_balance_before_check check (balance_before >= 0),
    add constraint transactions_balance_after_check check (balance_after >= 0),
    add constraint transactions_check1 check (free_after <= balance_after);
alter table credits.balances
    drop column held,
    add constraint balances_balance_check check (balance >= 0);

revoke all on schema base, auth, credits, api from mana_payments, mana_worker;
do $$
declare
    v_role text;
begin
    foreach v_role in array array['mana_payments', 'mana_worker'] loop
        execute format('revoke all on database %I from %I', current_database(), v_role);
        begin
            execute format('drop role %I', v_role);
        exception
            when dependent_objects_still_exist or insufficient_privilege then null;  -- another database uses it
        end;
    end loop;
end
$$;
