-- What an app wants to show of a package beside its name, as the predecessor has it.
set local lock_timeout = '1s';

set local role mana_owner;

alter table credits.packages
    add column metadata jsonb check (jsonb_typeof(metadata) = 'object' and length(metadata::text) <= 4096);

reset role;
