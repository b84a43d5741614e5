"""The OpenAPI 3.1 document, made from the table of routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from gateway import __version__
from gateway.api.fields import Request
from gateway.api.problem_document import ProblemDocument
from gateway.api.route import Access, Route
from gateway.api.table import ROUTES, TOPICS
from gateway.problems import CODES

_REF = "#/components/schemas/{name}"
_BEARER_ACCESS = {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN}


def document() -> bytes:
    """The document as JSON."""
    # In the order of the routes, and each once.
    models = dict.fromkeys([*(model for route in ROUTES for model in _models(route)), ProblemDocument])
    _, schemas = msgspec.json.schema_components(models, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for topic, routes in TOPICS.items():
        for route in routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, topic)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Mana Core Auth",
                "version": __version__,
                "description": "Who a person is, and what they may spend.",
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


def _models(route: Route) -> list[Any]:
    return [model for model in (route.body, route.answer) if model]


def _operation(route: Route, topic: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.function,
        "summary": route.summary,
        "tags": [topic],
        "responses": _responses(route),
    }
    if route.access in _BEARER_ACCESS:
        # A route that also takes a refresh token in the body makes the bearer token optional.
        alone: list[dict[str, list[str]]] = [] if route.access is Access.BEARER else [{}]
        operation["security"] = [{"bearer": []}, *alone]
    if route.body:
        required = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": required, "content": {"application/json": _body(route.body)}}
        if "idempotency_key" in route.body.__struct_fields__:
            operation["parameters"] = [_idempotency_key()]
    if route.query:
        operation["parameters"] = _query_parameters(route.query)
    return operation


def _responses(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in route.codes:
        by_status.setdefault(CODES[code][0], []).append(code)
    success = {"description": "Done", "content": {"application/json": _schema(route.answer)}}
    failures = {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
            "content": {"application/problem+json": _schema(ProblemDocument)},
        }
        for status, codes in sorted(by_status.items())
    }
    return {str(route.status): success, **failures}


def _body(model: type[Request]) -> dict[str, Any]:
    return {**_schema(model), **({"example": dict(model.example)} if model.example else {})}


def _schema(model: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([model], ref_template=_REF)
    return {"schema": schema}


def _query_parameters(model: type[Request]) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components([model], ref_template=_REF)
    properties = components[model.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: an optional parameter is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    plain = {**schema, **kinds[0]} if len(kinds) == 1 else dict(schema)
    plain.pop("anyOf", None)
    if plain.get("default", ...) is None:
        del plain["default"]
    return plain


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Instead of idempotencyKey in the body",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
