"""Schemas of requests and answers, in a form that generators of clients agree on.

msgspec leaves implicit what JSON Schema implies. Generators read less than that, or have defaults of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

_REF = "#/components/schemas/{name}"
_NULL = {"type": "null"}


def components(models: Iterable[Any]) -> dict[str, Any]:
    """The schemas of these models and of all that they refer to, by name."""
    _, found = msgspec.json.schema_components(models, ref_template=_REF)
    return {name: explicit(schema) for name, schema in found.items()}


def reference(model: Any) -> dict[str, Any]:
    """The schema of a model where it is used: a reference, or an array of references."""
    (found,), _ = msgspec.json.schema_components([model], ref_template=_REF)
    return explicit(found)


def properties(model: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """The fields of a query. It has no null: an optional parameter is left out."""
    _, found = msgspec.json.schema_components([model], ref_template=_REF)
    return {name: explicit(_without_null(schema)) for name, schema in found[model.__name__]["properties"].items()}


def explicit(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema with all that generators need.

    * An integer is an int64: without a format it gets 32 bits in Java, Kotlin and Go.
    * An enum has a type: without one it is any object in Java.
    * A nullable value has a list of types, which every generator takes for one type and not for a union.
    * An object that may have more properties says so: without that, clients in Java and Go refuse an
      answer with a field that is newer than they are.
    """
    plain = _nullable(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = explicit(plain[key])
    if "properties" in plain:
        plain["properties"] = {name: explicit(inner) for name, inner in plain["properties"].items()}
    if "anyOf" in plain:
        plain["anyOf"] = [explicit(inner) for inner in plain["anyOf"]]
    if "enum" in plain:
        plain.setdefault("type", "string")
    if "integer" in _types(plain):
        plain.setdefault("format", "int64")
    if "object" in _types(plain):
        plain.setdefault("additionalProperties", True)
    if plain.get("required") == []:
        del plain["required"]
    return plain


def _types(schema: dict[str, Any]) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else found


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """``anyOf`` of one inline type and null, as a list of both types."""
    plain = _without_null(schema)
    if plain == schema or "type" not in plain:
        return dict(schema)
    return {**plain, "type": [*_types(plain), "null"]}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", []) if kind != _NULL]
    plain = {**schema, **kinds[0]} if len(kinds) == 1 else dict(schema)
    if len(kinds) == 1:
        del plain["anyOf"]
    if plain.get("default", ...) is None:
        del plain["default"]
    return plain
