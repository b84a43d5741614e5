set local lock_timeout = '1s';

drop type auth.session_grant;

drop table
    auth.security_events, auth.two_factor_auth, auth.verification_tokens, auth.accounts,
    auth.passwords, auth.refresh_tokens, auth.sessions, auth.users;

drop type auth.user_role;
