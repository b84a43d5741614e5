set local lock_timeout = '1s';

drop type credits.movement, credits.spending;
