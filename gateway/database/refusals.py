"""From what the database refuses to what the client reads."""

from __future__ import annotations

from gateway.problems import FieldError, Problem, invalid_request


def problem(code: str, detail: str) -> Problem:
    """The problem that a function raised or returned. The database names its parameters, the API its fields."""
    if code != "invalid_request":
        return Problem(code, detail)
    name, _, message = detail.partition(": ")
    return invalid_request(FieldError(_camel(name), message))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
