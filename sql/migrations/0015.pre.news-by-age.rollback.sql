set local lock_timeout = '1s';

drop index payments.tasks_by_dirty_since;
