"""From a refusal or an error of the database to the Problem that a client sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from gateway.problems import FieldError, Problem, invalid_request, unavailable

# Classes of SQLSTATE that mean "not now": lost connection, rollback by concurrency, resources,
# operator intervention (a timeout is one), lock not available.
_NOT_NOW = ("08", "25006", "40", "53", "57", "55P03")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """The fields of an error. Our functions put a code into the message and a text for clients into the detail."""

    sqlstate: str
    message: str = ""
    detail: str = ""


def refused(code: str, detail: str, details: Mapping[str, int] | None = None) -> Problem:
    """The problem that a function raised or returned. The database names its parameters, the API its fields."""
    if code != "invalid_request":
        return Problem(code, detail, details=details)
    name, _, message = detail.partition(": ")
    return invalid_request(FieldError(_camel(name), message))


def failed(function: str, failure: Failure) -> Problem:
    """The problem that an error of a statement is. PostgreSQL's own texts quote values, so they stay here."""
    if failure.sqlstate.startswith("PT"):
        return refused(failure.message, failure.detail)
    if failure.sqlstate.startswith(_NOT_NOW):
        _log.warning("database_not_now", function=function, sqlstate=failure.sqlstate)
        return unavailable()
    _log.error("database_error", function=function, sqlstate=failure.sqlstate)
    return Problem("internal_error", "Something went wrong here. It has been logged.")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
