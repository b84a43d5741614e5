"""A row of the table of routes, and everything that follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from gateway.api.fields import Request
from gateway.api.headers import Header
from gateway.api.statements import statement
from gateway.api.steps import After, Before, Outside, require_payments
from gateway.database.calls import Statement
from gateway.outside.payment_events import Event

_SESSION = ("invalid_token", "token_expired", "session_ended", "account_disabled", "role_changed")
_BODY = ("invalid_request", "request_timeout", "payload_too_large", "unsupported_media_type")
_QUERY = ("invalid_request",)
_IN_PATH = re.compile(r"\{(\w+)\}")
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
    SIGNED = "signed"  # by the payment provider: the body is an Event, whose fields are parameters


_IMPLIED = {
    Access.ANYBODY: _Implied(("context",)),
    Access.BEARER: _Implied(("user_id", "claims", "context"), ("authentication_required", *_SESSION)),
    Access.REFRESH_TOKEN: _Implied(("user_id", "context"), ("invalid_refresh_token",)),
    Access.BEARER_OR_REFRESH_TOKEN: _Implied(
        ("user_id", "claims", "context"), ("authentication_required", "invalid_refresh_token", *_SESSION)
    ),
    Access.SIGNED: _Implied(
        ("context", *Event.__struct_fields__), ("invalid_signature", "payments_not_configured", *_BODY)
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
    WEBHOOK = "webhook"  # alone, without GENERAL: the provider's bursts are not turned away


@dataclass(frozen=True, eq=False)  # no slots: cached_property needs a __dict__
class Route:
    """One endpoint. ``function`` is its SQL function in schema ``api``, ``answer`` the body of a success.

    A name in braces in ``path`` is a UUID and the first parameter after those that the access implies.

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
    outside: Outside | None = None
    serves_many: bool = False

    @cached_property
    def in_path(self) -> Mapping[str, str]:
        """The parameters that the path has, and their names there."""
        return {
            re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name): name for name in _IN_PATH.findall(self.path)
        }

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
        return (*implied.parameters, *self.in_path, *names)

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """The codes of all problems that the route may answer with."""
        sent: tuple[str, ...] = _BODY if self.body else _QUERY if self.query else ()
        found = ("not_found",) if self.in_path else ()
        payable = ("payments_not_configured",) if require_payments in self.before else ()
        return (*sent, *found, *payable, *_IMPLIED[self.access].codes, *self.problems, *_EVERYWHERE)

    @cached_property
    def statement(self) -> Statement:
        """How its function is called."""
        return statement(self.function, self.parameters, self.serves_many, any(step.slow for step in self.before))

    @cached_property
    def second_statement(self) -> Statement | None:
        """How what was answered outside is written down."""
        step = self.outside
        return statement(step.function, step.parameters) if step and step.function else None
