-- A type that only the functions of the release before returned.
set local lock_timeout = '1s';

drop type credits.balance_summary;
