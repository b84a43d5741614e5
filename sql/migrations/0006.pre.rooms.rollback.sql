set local lock_timeout = '1s';

drop type api.reply, credits.spend_request, auth.caller, base.refusal;

drop schema _credits;
drop schema _auth;
drop schema base;
