-- What apps keep with a package. In a table of its own: a new column of credits.packages would change the type of the
-- rows that functions of the release before return, between a call's plan and its run.
set local lock_timeout = '1s';

set local role mana_owner;

create table credits.package_metadata (
    package_id uuid primary key references credits.packages (id) on delete cascade,
    metadata   jsonb not null check (jsonb_typeof(metadata) = 'object' and octet_length(metadata::text) <= 4096)
);

reset role;
