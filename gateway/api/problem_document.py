"""The body of every error."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.api.fields import Answer, Time
from gateway.problems import MAX_ERRORS


class FieldProblem(Answer, frozen=True):
    field: str
    message: str


class Shortage(Answer, frozen=True):
    """The numbers of a spend that was refused for lack of credits."""

    required: int
    available: int


class ProblemDocument(Answer, frozen=True):
    """An error (RFC 9457); error, statusCode, message, timestamp, path and retryAfterSec are for older clients."""

    type: str
    title: str
    status: int
    code: str
    error: str
    detail: str
    instance: str
    status_code: int
    message: str
    timestamp: Time
    path: str
    errors: Annotated[list[FieldProblem], Meta(max_length=MAX_ERRORS)] | msgspec.UnsetType = msgspec.UNSET
    details: Shortage | msgspec.UnsetType = msgspec.UNSET
    retry_after_sec: int | msgspec.UnsetType = msgspec.UNSET
