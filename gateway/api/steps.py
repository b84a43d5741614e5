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


@dataclass(frozen=True, slots=True)
class Outside:
    """A step after the call that asks somebody outside and changes the reply.

    ``function`` is the SQL function of the second call. It only writes down what was answered, so it may be lost
    without harm; it is empty if there is nothing to write down.
    """

    name: str
    function: str = ""
    parameters: tuple[str, ...] = ()


check_address = Before("check_address", "email", of="email")
digest_password = Before("digest_password", "password_digest", of="password", slow=True)
digest_new_password = Before("digest_new_password", "password_digest", of="password", slow=True)
set_refresh_ttl = Before("set_refresh_ttl", "refresh_ttl")
require_payments = Before("require_payments", "livemode")

sign_access_token = After("sign_access_token")
link_next_page = After("link_next_page")
count_spent = After("count_spent")

_SETTLED = ("context", "user_id", "purchase_id", "ticket", "snapshot")

open_checkout = Outside(
    "open_checkout", "note_checkout", ("context", "user_id", "purchase_id", "customer_id", "session_id")
)
look_at_purchase = Outside("look_at_purchase", "settle_purchase", _SETTLED)
return_to_app = Outside("return_to_app", "settle_purchase", _SETTLED)
refund_purchase = Outside("refund_purchase", "settle_purchase", _SETTLED)
open_portal = Outside("open_portal")
