"""Bodies and queries as Stripe takes them: forms whose names have brackets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.stripe_double.state import ApiError

_PART = re.compile(r"\[([^\]]*)\]")


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``a[b][0]=c`` as ``{"a": {"b": ["c"]}}``."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        first = name.partition("[")[0]
        path = [first, *_PART.findall(name)]
        here = found
        for part, following in zip(path, [*path[1:], None], strict=True):
            key = str(len(here)) if part == "" else part
            if following is None:
                here[key] = value
            else:
                here = here.setdefault(key, {})
    return {name: _lists(value) for name, value in found.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = {name: _lists(inner) for name, inner in value.items()}
    return list(items.values()) if items and all(name.isdigit() for name in items) else items


def known(given: Mapping[str, Any], names: str, required: str = "") -> None:
    """Raises ApiError for a parameter that is not known or is missing, as Stripe does."""
    for name in given:
        if name not in {*names.split(), *required.split(), "expand", "metadata"}:
            raise ApiError(400, "parameter_unknown", f"Received unknown parameter: {name}", param=name)
    for name in required.split():
        if name not in given:
            raise ApiError(400, "parameter_missing", f"Missing required param: {name}.", param=name)


def whole(value: Any, name: str) -> int:
    """Raises ApiError parameter_invalid_integer."""
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ApiError(400, "parameter_invalid_integer", f"Invalid integer: {value}", param=name) from error


def yes(value: Any) -> bool:
    return value in (True, "true", "True")
