"""The whole API as data. The aiohttp routes, the SQL, the OpenAPI document and the test that all of
them agree are made from this table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from gateway.api import models

BASE_PATH = "/api/v1"


class Access(Enum):
    """Who may call a route, and how the gateway learns for whom it calls the database."""

    PROBE = "probe"  # the gateway itself
    ANYBODY = "anybody"
    BEARER = "bearer"
    REFRESH_TOKEN = "refresh_token"  # the user whom the token in the body names
    BEARER_OR_REFRESH_TOKEN = "bearer_or_refresh_token"
    TOKEN_IN_BODY = "token_in_body"  # an access token, which the route is about


class Limit(Enum):
    """Which tighter limit a route has beside the general one."""

    GENERAL = "general"
    PASSWORD = "password"
    REFRESH = "refresh"


_CALLER: dict[Access, tuple[str, ...]] = {
    Access.PROBE: (),
    Access.ANYBODY: ("context",),
    Access.BEARER: ("user_id", "claims", "context"),
    Access.REFRESH_TOKEN: ("user_id", "context"),
    Access.BEARER_OR_REFRESH_TOKEN: ("user_id", "claims", "context"),
    Access.TOKEN_IN_BODY: ("user_id", "claims", "context"),
}


_PLURALS = {"claims": "claims", "metadata": "metadata"}


@dataclass(frozen=True, eq=False)  # no slots: what follows from a route is worked out once
class Route:
    """One endpoint. ``function`` is its SQL function in schema ``api``."""

    method: str
    path: str
    function: str
    access: Access
    summary: str
    answer: Any
    problems: tuple[str, ...]
    status: int = 200
    body: type[models.Request] | None = None
    query: type[models.Request] | None = None
    limit: Limit = Limit.GENERAL
    hashes_password: bool = False  # runs on the password lane
    issues_token: bool = False  # answers with claims that become an access token
    serves_many: bool = False  # the function takes arrays, an element for each call

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The parameters of the SQL function, in order and without their ``p_``."""
        model = self.body or self.query
        fields = model.__struct_fields__ if model and self.access is not Access.TOKEN_IN_BODY else ()
        names = ("password_digest" if name == "password" else name for name in fields)
        return (*_CALLER[self.access], *names, *(("refresh_ttl",) if self.issues_token else ()))

    @cached_property
    def sql(self) -> str:
        """The one statement of this route. Of a function that serves many, each parameter is an array with a plural."""
        names = (_PLURALS.get(name, f"{name}s") if self.serves_many else name for name in self.parameters)
        arguments = ", ".join(f"p_{name} => ${i}" for i, name in enumerate(names, 1))
        return f"select status, body, headers, events from api.{self.function}({arguments})"  # noqa: S608


_SESSION = ("invalid_token", "token_expired", "session_ended", "account_disabled", "role_changed")

HEALTH = Route("GET", "/health", "health", Access.PROBE, "Is the database as it should be", None, ())

ROUTES = (
    Route(
        "POST", "/auth/register", "register_user", Access.ANYBODY,
        "Register with e-mail and password; opens a credits account with the signup bonus",
        models.Registered, ("email_taken",), status=201,
        body=models.Register, limit=Limit.PASSWORD, hashes_password=True,
    ),
    Route(
        "POST", "/auth/login", "log_in", Access.ANYBODY,
        "Open a session on a device",
        models.LoggedIn, ("invalid_credentials", "account_disabled"),
        body=models.Login, limit=Limit.PASSWORD, hashes_password=True, issues_token=True,
    ),
    Route(
        "POST", "/auth/refresh", "refresh_session", Access.REFRESH_TOKEN,
        "Exchange a refresh token, which works once, for new tokens",
        models.LoggedIn, ("invalid_refresh_token",),
        body=models.Refresh, limit=Limit.REFRESH, issues_token=True,
    ),
    Route(
        "POST", "/auth/logout", "log_out", Access.BEARER_OR_REFRESH_TOKEN,
        "End the session of the access token, or of the refresh token in the body",
        models.LoggedOut, ("authentication_required", "invalid_refresh_token", *_SESSION),
        body=models.Logout,
    ),
    Route(
        "POST", "/auth/validate", "validate", Access.TOKEN_IN_BODY,
        "Say whether an access token works, and what it claims",
        models.Validation, (),
        body=models.Validate,
    ),
    Route(
        "GET", "/credits/balance", "get_balance", Access.BEARER,
        "The balance; a daily grant that is due is paid first",
        models.Balance, ("authentication_required", "not_found", *_SESSION),
        serves_many=True,
    ),
    Route(
        "POST", "/credits/use", "use_credits", Access.BEARER,
        "Spend credits, free ones first; safe to retry with an idempotency key",
        models.CreditsUsed,
        (
            "authentication_required", "insufficient_credits", "not_found", "version_conflict",
            "idempotency_key_reused", *_SESSION,
        ),
        body=models.UseCredits,
        serves_many=True,
    ),
    Route(
        "GET", "/credits/transactions", "list_transactions", Access.BEARER,
        "Transactions, newest first; Link rel=next leads on",
        list[models.Transaction], ("authentication_required", *_SESSION),
        query=models.ListTransactions,
    ),
    Route(
        "GET", "/credits/purchases", "list_purchases", Access.BEARER,
        "Purchases, newest first",
        list[models.Purchase], ("authentication_required", *_SESSION),
    ),
    Route(
        "GET", "/credits/packages", "list_packages", Access.BEARER,
        "What is for sale",
        list[models.Package], ("authentication_required", *_SESSION),
    ),
)  # fmt: skip
