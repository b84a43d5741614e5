set local lock_timeout = '1s';

set local role mana_owner;

alter table credits.packages drop column metadata;

reset role;
