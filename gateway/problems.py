"""Everything that can go wrong, as one closed list of codes and one exception hierarchy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# code -> (HTTP status, title, `error` of clients that know the predecessor, from a closed list of their own). The
# SQL functions raise these codes, see the SQLSTATE 'PT' + status.
CODES: dict[str, tuple[int, str, str]] = {
    "invalid_request": (400, "The request is not valid", "VALIDATION"),
    "invalid_signature": (400, "The signature is not valid", "VALIDATION"),
    "weak_password": (400, "The password is too easy to guess", "WEAK_PASSWORD"),
    "authentication_required": (401, "Authentication is required", "UNAUTHORIZED"),
    "invalid_token": (401, "The access token is not valid", "TOKEN_INVALID"),
    "token_expired": (401, "The access token has expired", "TOKEN_EXPIRED"),
    "session_ended": (401, "The session has ended", "TOKEN_INVALID"),
    "account_disabled": (401, "The account is disabled", "ACCOUNT_LOCKED"),
    "role_changed": (401, "The role of the account has changed", "TOKEN_INVALID"),
    "invalid_credentials": (401, "The credentials are wrong", "INVALID_CREDENTIALS"),
    "invalid_refresh_token": (401, "The refresh token is not valid", "TOKEN_INVALID"),
    "insufficient_credits": (402, "There are not enough credits", "INSUFFICIENT_CREDITS"),
    "app_not_allowed": (403, "The app is not allowed", "UNAUTHORIZED"),
    "approval_required": (403, "A second administrator has to approve", "UNAUTHORIZED"),
    "origin_not_allowed": (403, "The origin is not allowed", "UNAUTHORIZED"),
    "not_found": (404, "There is nothing here", "NOT_FOUND"),
    "method_not_allowed": (405, "The method is not allowed here", "NOT_FOUND"),
    "request_timeout": (408, "The request took too long to arrive", "SERVICE_UNAVAILABLE"),
    "email_taken": (409, "The e-mail address is taken", "EMAIL_ALREADY_REGISTERED"),
    "purchases_blocked": (409, "A payment is disputed", "VALIDATION"),
    "purchase_not_paid": (409, "There is nothing to refund", "VALIDATION"),
    "refund_not_possible": (409, "The purchase cannot be refunded any more", "VALIDATION"),
    "reversal_exceeds_spend": (409, "Less of the spend is left to give back", "VALIDATION"),
    "version_conflict": (409, "The balance has changed", "VALIDATION"),
    "payload_too_large": (413, "The request is too large", "VALIDATION"),
    "unsupported_media_type": (415, "The media type is not supported", "VALIDATION"),
    "idempotency_key_reused": (422, "The idempotency key was used for another request", "VALIDATION"),
    "too_many_requests": (429, "Too many requests", "RATE_LIMITED"),
    "internal_error": (500, "Something went wrong here", "INTERNAL"),
    "service_unavailable": (503, "The service is not available right now", "SERVICE_UNAVAILABLE"),
    "not_visible_yet": (503, "The purchase is not here yet", "SERVICE_UNAVAILABLE"),
    "payments_not_configured": (503, "Nothing can be bought here", "SERVICE_UNAVAILABLE"),
    "payments_unavailable": (503, "The payment provider is not available", "SERVICE_UNAVAILABLE"),
}

# Older clients delete both tokens when a refresh fails, unless the text names one of these: then they try again.
KEEPS_TOKENS = re.compile("network|fetch|connection|timeout|request failed", re.IGNORECASE)

MAX_ERRORS = 20  # fields that one response names: a request of 64 KiB must not get megabytes


class ManaError(Exception):
    """Base of every error that this package raises on purpose."""


class OperatorError(ManaError):
    """An error that an operator can correct: one clear line, and a hint if there is one."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error in one field of a request; ``field`` is its path, such as ``metadata.a.0``."""

    field: str
    message: str


@dataclass(eq=False)
class Problem(ManaError):
    """An error response (RFC 9457). Any client may see ``detail``, and ``details``: numbers that belong to the code."""

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    details: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        self.detail = keep_tokens(self.status, self.detail)

    @property
    def status(self) -> int:
        """The HTTP status that belongs to the code."""
        return CODES[self.code][0]

    @property
    def title(self) -> str:
        """The summary of all problems with this code."""
        return CODES[self.code][1]

    @property
    def error(self) -> str:
        """The name of the code for clients that know the predecessor."""
        return CODES[self.code][2]

    @property
    def retry_after(self) -> int | None:
        """Seconds until another attempt is worthwhile, if that is known."""
        seconds = self.headers.get("Retry-After")
        return int(seconds) if seconds else None


def keep_tokens(status: int, detail: str) -> str:
    """The text of an error. If another attempt may succeed, it has words at which older clients keep their tokens."""
    passes = status in {408, 429} or status >= 500
    if not passes or KEEPS_TOKENS.search(detail):
        return detail
    return f"Request failed: {detail[:1].lower()}{detail[1:]}"


def invalid_request(*errors: FieldError) -> Problem:
    """A 400 that names each field, up to MAX_ERRORS of them."""
    errors = errors[:MAX_ERRORS]
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
    return Problem("invalid_request", detail, errors)


def unavailable(retry_after: int = 1) -> Problem:
    """A 503 for a database that is away or too busy; ``retry_after`` in seconds."""
    return Problem(
        "service_unavailable",
        "Request failed: the service is not available right now. Try again shortly.",
        headers={"Retry-After": str(retry_after)},
    )


def payments_unavailable() -> Problem:
    """A 503 for a payment provider that is away, or answers with an error of its own."""
    return Problem(
        "payments_unavailable",
        "Request failed: the payment provider does not answer as it should. Try again shortly.",
        headers={"Retry-After": "2"},
    )


def payments_not_configured() -> Problem:
    """A 503 for a service that sells nothing."""
    return Problem("payments_not_configured", "Nothing can be bought here: payments are not configured.")
