"""A row of the table of routes, and everything that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from gateway.api.fields import Request
from gateway.api.headers import Header
from gateway.api.statements import statement
from gateway.api.steps import After, Before
from gateway.database.calls import Statement

_SESSION = ("invalid_token", "token_expired", "session_ended", "account_disabled", "role_changed")
_BODY = ("invalid_request", "request_timeout", "payload_too_large", "unsupported_media_type")
_QUERY = ("invalid_request",)
_EVERYWHERE = ("too_many_requests", "internal_error", "service_unavailable")


@dataclass(frozen=True, slots=True)
class _Implied:
    """Consequences of an Access."""

    parameters: tuple[str, ...]  # of the SQL function, before the fields of the request
    codes: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()  # fields that name the caller and are no parameters


class Access(Enum):
    """Who may call a route, and how the gateway learns for whom it calls the database."""

    ANYBODY = "anybody"
    BEARER = "bearer"
    REFRESH_TOKEN = "refresh_token"  # of the user that the token in the body names
    BEARER_OR_REFRESH_TOKEN = "bearer_or_refresh_token"
    TOKEN_IN_BODY = "token_in_body"  # an access token, which the route is about


_IMPLIED = {
    Access.ANYBODY: _Implied(("context",)),
    Access.BEARER: _Implied(("user_id", "claims", "context"), ("authentication_required", *_SESSION)),
    Access.REFRESH_TOKEN: _Implied(("user_id", "context"), ("invalid_refresh_token",)),
    Access.BEARER_OR_REFRESH_TOKEN: _Implied(
        ("user_id", "claims", "context"), ("authentication_required", "invalid_refresh_token", *_SESSION)
    ),
    Access.TOKEN_IN_BODY: _Implied(("user_id", "claims", "context"), reads=frozenset({"token"})),
}


class Limit(Enum):
    """Which tighter limit a route has beside the general one.

    A route that checks a password or a code has PASSWORD: what is tried there is also counted for the account.
    """

    GENERAL = "general"
    REGISTRATION = "registration"
    PASSWORD = "password"
    ACCOUNT = "account"  # not of a route: what PASSWORD counts for an account, from all addresses
    REFRESH = "refresh"


@dataclass(frozen=True, eq=False)  # no slots: cached_property needs a __dict__
class Route:
    """One endpoint. ``function`` is its SQL function in schema ``api``, ``answer`` the body of a success.

    ``problems`` are the codes that nothing else here implies, ``headers`` those that only a success of this route
    may have. A function that ``serves_many`` takes arrays.
    """

    method: str
    path: str
    function: str
    access: Access
    summary: str
    answer: Any
    problems: tuple[str, ...] = ()
    status: int = 200
    body: type[Request] | None = None
    query: type[Request] | None = None
    headers: tuple[Header, ...] = ()
    limit: Limit = Limit.GENERAL
    before: tuple[Before, ...] = ()
    after: tuple[After, ...] = ()
    serves_many: bool = False

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The parameters of the SQL function, in order and without their ``p_``."""
        implied = _IMPLIED[self.access]
        model = self.body or self.query
        left_out = implied.reads | model.unused if model else implied.reads
        names = [name for name in model.__struct_fields__ if name not in left_out] if model else []
        for step in self.before:
            names = [step.makes if name == step.of else name for name in names]
            if not step.of:
                names.append(step.makes)
        return (*implied.parameters, *names)

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """The codes of all problems that the route may answer with."""
        sent = _BODY if self.body else _QUERY if self.query else ()
        return (*sent, *_IMPLIED[self.access].codes, *self.problems, *_EVERYWHERE)

    @cached_property
    def statement(self) -> Statement:
        """How its function is called."""
        return statement(self.function, self.parameters, self.serves_many, any(step.slow for step in self.before))
