"""An example of each body in the document. The texts of errors are those that are sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from gateway.api.route import Access, Route
from gateway.http.responses import NO_HTTP, problem_document
from gateway.problems import (
    FieldError,
    Problem,
    invalid_request,
    payments_not_configured,
    payments_unavailable,
    unavailable,
)

_MOMENT = datetime(2026, 11, 26, 11, 35, 7, 123000, UTC)
_REQUEST_ID = "5f3c6a1e0d9b4c7f8a2e1b0c9d8f7e6a"
_WEAK = "This is a top-10 common password."

# Of codes whose problem has a text alone.
TEXTS = {
    "authentication_required": "A bearer token is needed.",
    "invalid_token": "Invalid token.",
    "token_expired": "Token expired. Refresh it.",
    "session_ended": "Invalid token: this session has ended. Log in again.",
    "account_disabled": "Invalid token: this account is disabled.",
    "role_changed": "Invalid token: the role of this account has changed. Refresh it.",
    "invalid_credentials": "Invalid email or password",
    "invalid_refresh_token": "Invalid refresh token",
    "not_found": "This user has no credits account.",
    "request_timeout": "The body did not arrive in time.",
    "email_taken": "This e-mail address is already registered.",
    "version_conflict": "The balance has changed. Read it again and decide again.",
    "invalid_signature": "The signature does not belong to this body, or is too old.",
    "purchases_blocked": "A payment is disputed. Until that is settled, nothing can be bought.",
    "purchase_not_paid": "There is no payment that could be refunded.",
    "refund_not_possible": "The time to refund has passed, or some of the credits are spent.",
    "payload_too_large": "The body must not exceed 65536 bytes.",
    "unsupported_media_type": "The body must be application/json.",
    "idempotency_key_reused": "This idempotency key was used for another request.",
    "not_visible_yet": "This purchase is not here yet. Send the event again.",
    "internal_error": "Something went wrong here. It has been logged.",
}
_PROBLEMS = {
    **{code: Problem(code, text) for code, text in TEXTS.items()},
    "invalid_request": invalid_request(FieldError("body", "is not valid JSON in UTF-8")),
    "weak_password": Problem(
        "weak_password",
        f"This password is too easy to guess. {_WEAK}",
        (FieldError("password", f"is too easy to guess. {_WEAK}"),),
    ),
    "insufficient_credits": Problem(
        "insufficient_credits", "Insufficient credits.", details={"required": 200, "available": 150}
    ),
    "too_many_requests": Problem(
        "too_many_requests",
        "Request failed: too many requests. Try again in 30 seconds.",
        headers={"Retry-After": "30"},
    ),
    "service_unavailable": unavailable(),
    "payments_unavailable": payments_unavailable(),
    "payments_not_configured": payments_not_configured(),
}


def answer(model: Any) -> Any:
    """A body of this model, or of a list of it."""
    items = get_args(model)
    return [dict(items[0].example)] if items else dict(model.example)


def problem(code: str, route: Route) -> Mapping[str, Any]:
    """The body of an error of this route with this code."""
    found = _PROBLEMS[code]
    if code == "invalid_request" and route.query:
        found = invalid_request(FieldError(route.query.__struct_encode_fields__[0], "appears twice"))
    elif code == "account_disabled" and route.access is Access.ANYBODY:
        found = Problem(code, "This account is disabled.")
    return problem_document(found, _REQUEST_ID, route.path, _MOMENT)


def invalid_http(path: str) -> Mapping[str, Any]:
    """The body of an error that no handler has seen."""
    return problem_document(NO_HTTP, _REQUEST_ID, path, _MOMENT)
