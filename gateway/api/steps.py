"""Names of the steps that a route takes besides its call. ``gateway/http/steps`` implements them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Before:
    """A step before the call: it makes the parameter ``makes``, out of the field ``of`` if there is one."""

    name: str
    makes: str
    of: str = ""
    slow: bool = False  # the function of the route hashes a password


@dataclass(frozen=True, slots=True)
class After:
    """A step after a call that succeeded: it may change the reply."""

    name: str


check_address = Before("check_address", "email", of="email")
digest_password = Before("digest_password", "password_digest", of="password", slow=True)
digest_new_password = Before("digest_new_password", "password_digest", of="password", slow=True)
set_refresh_ttl = Before("set_refresh_ttl", "refresh_ttl")

sign_access_token = After("sign_access_token")
link_next_page = After("link_next_page")
count_spent = After("count_spent")
