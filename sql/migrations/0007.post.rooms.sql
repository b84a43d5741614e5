-- Types that only the functions of the release before returned and took.
set local lock_timeout = '1s';

drop type api.response, credits.spending;
