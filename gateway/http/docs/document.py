"""The OpenAPI 3.1 document, made from the table of routes."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from gateway import __version__
from gateway.api import headers
from gateway.api.fields import Request
from gateway.api.headers import Header
from gateway.api.problem_document import ProblemDocument
from gateway.api.route import Access, Route
from gateway.api.table import ROUTES, TOPICS
from gateway.http.docs import schemas
from gateway.problems import CODES

_BEARER_ACCESS = {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN}


def document() -> bytes:
    """The document as JSON."""
    # In the order of the routes, and each once.
    models = dict.fromkeys([*(model for route in ROUTES for model in _models(route)), ProblemDocument])
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
            "servers": [{"url": "/", "description": "The service that this document comes from"}],
            "paths": paths,
            "components": {
                "schemas": schemas.components(models),
                "headers": {header.name: _header(header) for header in headers.ALL},
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
        "security": _security(route.access),
        "responses": _responses(route),
    }
    if route.body:
        required = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": required, "content": {"application/json": _body(route.body)}}
        if "idempotency_key" in route.body.__struct_fields__:
            operation["parameters"] = [_idempotency_key()]
    if route.query:
        operation["parameters"] = [
            {"name": name, "in": "query", "required": False, "allowEmptyValue": True, "schema": schema}
            for name, schema in schemas.properties(route.query).items()
        ]
    return operation


def _security(access: Access) -> list[dict[str, list[str]]]:
    """A route that also takes a refresh token in the body makes the bearer token optional."""
    bearer: list[dict[str, list[str]]] = [{"bearer": []}] if access in _BEARER_ACCESS else []
    return bearer if access is not Access.BEARER_OR_REFRESH_TOKEN else [*bearer, {}]


def _responses(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in route.codes:
        by_status.setdefault(CODES[code][0], []).append(code)
    success = {
        "description": "Done",
        "headers": _references([*route.headers, *headers.EVERYWHERE]),
        "content": {"application/json": {"schema": schemas.reference(route.answer)}},
    }
    failures = {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
            "headers": _references([*headers.WITH_STATUS.get(status, ()), *headers.EVERYWHERE]),
            "content": {"application/problem+json": {"schema": schemas.reference(ProblemDocument)}},
        }
        for status, codes in sorted(by_status.items())
    }
    return {str(route.status): success, **failures}


def _body(model: type[Request]) -> dict[str, Any]:
    schema = {"schema": schemas.reference(model)}
    return {**schema, "example": dict(model.example)} if model.example else schema


def _header(header: Header) -> dict[str, Any]:
    return {"description": header.about, "schema": schemas.explicit({"type": header.type})}


def _references(found: Iterable[Header]) -> dict[str, Any]:
    return {header.name: {"$ref": f"#/components/headers/{header.name}"} for header in found}


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": 'Instead of idempotencyKey in the body; "abc", as RFC 9651 writes strings, is the key abc',
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
