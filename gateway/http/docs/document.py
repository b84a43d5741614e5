"""The OpenAPI 3.1 document, made from the table of routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from gateway import __version__
from gateway.api import headers, public_keys
from gateway.api.fields import Request
from gateway.api.headers import Header
from gateway.api.problem_document import ProblemDocument
from gateway.api.public_keys import KeySet
from gateway.api.route import Access, Route
from gateway.api.table import ROUTES, TOPICS
from gateway.http.docs import examples, schemas
from gateway.problems import CODES

_BEARER_ACCESS = {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN}


def document() -> bytes:
    """The document as JSON."""
    # In the order of the routes, and each once.
    models = dict.fromkeys([*(model for route in ROUTES for model in _models(route)), KeySet, ProblemDocument])
    paths: dict[str, dict[str, Any]] = {}
    for topic, routes in TOPICS.items():
        for route in routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, topic)
    for path in (public_keys.PATH, *public_keys.OLDER_PATHS):
        paths[path] = {"get": _key_set(path)}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Mana Core Auth",
                "version": __version__,
                "description": (
                    "Who a person is, and what they may spend. Each path may end with a slash. A request may have an"
                    " X-Request-Id of up to 64 letters, digits, dots, underscores and hyphens."
                ),
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
    if route.in_path:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
            for name in route.in_path.values()
        ]
    if route.body:
        required = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": required, "content": {"application/json": _body(route.body)}}
        if "idempotency_key" in route.body.__struct_fields__:
            operation.setdefault("parameters", []).append(_idempotency_key())
    if route.access is Access.SIGNED:
        operation.setdefault("parameters", []).append(_signature())
    if route.query:
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "query", "required": False, "allowEmptyValue": True, "schema": schema}
            for name, schema in schemas.properties(route.query).items()
        )
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
        "content": _json(route.answer),
    }
    failures = {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
            "headers": _references([*headers.WITH_STATUS.get(status, ()), *headers.EVERYWHERE]),
            "content": _problem_json({code: examples.problem(code, route) for code in codes}),
        }
        for status, codes in sorted(by_status.items())
    }
    return {str(route.status): success, **failures}


def _key_set(path: str) -> dict[str, Any]:
    """The operation that no row of the table is: it needs no database."""
    older = path in public_keys.OLDER_PATHS
    return {
        "operationId": f"get_key_set{''.join(f'_{part}' for part in path.split('/')[1:-1]) if older else ''}",
        "summary": f"The public keys that verify access tokens (RFC 7517){', for older backends' if older else ''}",
        "tags": ["keys"],
        "deprecated": older,
        "security": [],
        "responses": {
            "200": {
                "description": "Done",
                "headers": _references([headers.CACHE_CONTROL, headers.REQUEST_ID]),
                "content": _json(KeySet),
            },
            "400": {
                "description": "Bad Request: invalid_request",
                "headers": _references([headers.REQUEST_ID]),
                "content": _problem_json({"invalid_request": examples.invalid_http(path)}),
            },
        },
    }


def _json(model: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schemas.reference(model), "example": examples.answer(model)}}


def _problem_json(by_code: Mapping[str, Any]) -> dict[str, Any]:
    found = {code: {"value": body} for code, body in by_code.items()}
    return {"application/problem+json": {"schema": schemas.reference(ProblemDocument), "examples": found}}


def _body(model: type[Request]) -> dict[str, Any]:
    schema = {"schema": schemas.reference(model)}
    return {**schema, "example": dict(model.example)} if model.example else schema


def _header(header: Header) -> dict[str, Any]:
    return {"description": header.about, "schema": schemas.explicit({"type": header.type})}


def _references(found: Iterable[Header]) -> dict[str, Any]:
    return {header.name: {"$ref": f"#/components/headers/{header.name}"} for header in found}


def _signature() -> dict[str, Any]:
    return {
        "name": "Stripe-Signature",
        "in": "header",
        "required": True,
        "description": "The time and HMACs of the body, as Stripe makes them with the secret of the webhook endpoint",
        "schema": {"type": "string"},
    }


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": 'Instead of idempotencyKey in the body; "abc", as RFC 9651 writes strings, is the key abc',
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
