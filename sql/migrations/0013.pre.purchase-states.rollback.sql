-- PostgreSQL takes no value out of an enum: both stay, unused, until the type itself goes.
set local lock_timeout = '1s';
