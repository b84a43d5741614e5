"""Everything that can go wrong, as one closed list of codes and one exception hierarchy."""

from __future__ import annotations

from dataclasses import dataclass, field

# code -> (HTTP status, title). The SQL functions raise these codes, see the SQLSTATE 'PT' + status.
CODES: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is not valid"),
    "authentication_required": (401, "Authentication is required"),
    "invalid_token": (401, "The access token is not valid"),
    "token_expired": (401, "The access token has expired"),
    "session_ended": (401, "The session has ended"),
    "account_disabled": (401, "The account is disabled"),
    "role_changed": (401, "The role of the account has changed"),
    "invalid_credentials": (401, "The credentials are wrong"),
    "invalid_refresh_token": (401, "The refresh token is not valid"),
    "insufficient_credits": (402, "There are not enough credits"),
    "origin_not_allowed": (403, "The origin is not allowed"),
    "not_found": (404, "There is nothing here"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "request_timeout": (408, "The request took too long to arrive"),
    "email_taken": (409, "The e-mail address is taken"),
    "version_conflict": (409, "The balance has changed"),
    "payload_too_large": (413, "The request is too large"),
    "unsupported_media_type": (415, "The media type is not supported"),
    "idempotency_key_reused": (422, "The idempotency key was used for another request"),
    "too_many_requests": (429, "Too many requests"),
    "internal_error": (500, "Something went wrong here"),
    "service_unavailable": (503, "The service is not available right now"),
}

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
    """An error response (RFC 9457). Any client may see ``detail``."""

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status that belongs to the code."""
        return CODES[self.code][0]

    @property
    def title(self) -> str:
        """The summary of all problems with this code."""
        return CODES[self.code][1]


def invalid_request(*errors: FieldError) -> Problem:
    """A 400 that names each field, up to MAX_ERRORS of them."""
    errors = errors[:MAX_ERRORS]
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
    return Problem("invalid_request", detail, errors)


def unavailable(retry_after: int = 1) -> Problem:
    """A 503 for a database that is away or too busy; ``retry_after`` in seconds."""
    return Problem(
        "service_unavailable",
        "The service is not available right now. Try again shortly.",
        headers={"Retry-After": str(retry_after)},
    )
