-- What has waited longest is asked for every second.
set local lock_timeout = '1s';

set local role mana_owner;

create index tasks_by_dirty_since on payments.tasks (dirty_since) where dirty_since is not null;

reset role;
