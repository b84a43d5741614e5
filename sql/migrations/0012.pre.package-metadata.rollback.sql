set local lock_timeout = '1s';

drop table credits.package_metadata;
