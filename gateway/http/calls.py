"""The routes of ``/api/v1``: check who asks and what for, call the database once, pass its answer on."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from gateway.api.models import Request, UseCredits
from gateway.api.routes import Access, Route
from gateway.database import refusals
from gateway.database.lanes import Reply
from gateway.http.bodies import fit_to_store, parse_body, parse_query
from gateway.http.rate_limits import client_address
from gateway.http.responses import JSON, REQUEST_ID, VERDICT, Handler
from gateway.http.services import SERVICES, Services
from gateway.problems import FieldError, Problem, invalid_request
from gateway.tokens import passwords
from gateway.tokens.access_tokens import Caller, access_token_body

MAX_BODY = 64 * 1024  # bytes
BODY_ARRIVES_WITHIN = 10.0  # seconds
MAX_USER_AGENT = 512  # characters


def handler(route: Route) -> Handler:
    """The aiohttp handler of a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        services = request.app[SERVICES]
        address = _client_address(request, services)
        verdict = await services.limiter.check(route.limit, route.function, address)
        if verdict:
            request[VERDICT] = verdict

        if route.access is Access.BEARER:
            caller = _bearer(request, services)
            model = await _read(request, route)
        else:
            model = await _read(request, route)
            try:
                caller = _caller(request, route, model, services)
            except Problem as problem:
                if route.access is not Access.TOKEN_IN_BODY:
                    raise
                return _json(200, msgspec.json.encode({"valid": False, "error": problem.code}))

        values = _values(route, model, services)
        values |= {"user_id": caller.user_id, "claims": caller.claims, "context": _context(request, address)}
        reply = await services.database.call(route, [_encode(values[name]) for name in route.parameters])
        services.metrics.count(reply.events)
        if isinstance(model, UseCredits) and "Idempotency-Replayed" not in reply.headers and reply.status == 200:
            services.metrics.spent.inc(model.amount)
        return _response(request, route, reply, services)

    return handle


def _client_address(request: web.Request, services: Services) -> str:
    forwarded = request.headers.getall("X-Forwarded-For", [])
    return client_address(request.remote or "", forwarded, services.settings.trusted_proxies)


def _context(request: web.Request, address: str) -> str:
    agent = fit_to_store(request.headers.get("User-Agent", ""), MAX_USER_AGENT)
    context = {"ip": address, "userAgent": agent, "requestId": request[REQUEST_ID]}
    return msgspec.json.encode(context).decode()


def _bearer(request: web.Request, services: Services) -> Caller:
    given = request.headers.getall("Authorization", [""])
    if len(given) > 1:
        raise Problem("invalid_token", "There is more than one Authorization header.")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem("authentication_required", "A bearer token is needed.")
    return services.tokens.verify(token.strip())


_NOBODY = Caller("", "")


def _caller(request: web.Request, route: Route, model: Request | None, services: Services) -> Caller:
    """For whom the database is called. Raises Problem when that cannot be told."""
    match route.access:
        case Access.TOKEN_IN_BODY:
            return services.tokens.verify(getattr(model, "token", ""))
        case Access.REFRESH_TOKEN:
            return _named_by(getattr(model, "refresh_token", ""))
        case Access.BEARER_OR_REFRESH_TOKEN:
            token = getattr(model, "refresh_token", None)
            return _named_by(token) if token else _bearer(request, services)
        case _:
            return _NOBODY


def _named_by(refresh_token: str) -> Caller:
    """The user whom a refresh token names; whether it is theirs is the database's to say."""
    try:
        return Caller(str(uuid.UUID(hex=refresh_token.partition(".")[0])), "")
    except ValueError as error:
        raise Problem("invalid_refresh_token", "Invalid refresh token") from error


async def _read(request: web.Request, route: Route) -> Request | None:
    if route.query:
        return parse_query(request.query, route.query)
    if not route.body:
        return None
    raw = await _read_body(request)
    keys = request.headers.getall("Idempotency-Key", []) if "idempotency_key" in route.body.__struct_fields__ else []
    if len(keys) > 1:
        raise invalid_request(FieldError("idempotencyKey", "appears in two headers"))
    if not raw and not any(field.required for field in msgspec.structs.fields(route.body)):
        raw = b"{}"
    return parse_body(raw, route.body, {"idempotencyKey": keys[0]} if keys else {})


async def expect(request: web.Request) -> None:
    """100-continue is granted; other expectations are not known here, and not refused (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _read_body(request: web.Request) -> bytes:
    """The body, not longer than MAX_BODY and as it was sent. Raises Problem."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem("unsupported_media_type", "A compressed body is not accepted.")
    try:
        if (request.content_length or 0) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY)
        async with asyncio.timeout(BODY_ARRIVES_WITHIN):
            raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise Problem("payload_too_large", f"The body must not exceed {MAX_BODY} bytes.") from error
    except (TimeoutError, ConnectionError) as error:  # too slow, or gone
        raise Problem("request_timeout", "The body did not arrive in time.") from error
    if raw and request.content_type != JSON:
        raise Problem("unsupported_media_type", f"The body must be {JSON}.")
    return raw


def _values(route: Route, model: Request | None, services: Services) -> dict[str, Any]:
    """The parameters of the SQL function that come from the request and the settings."""
    values = msgspec.structs.asdict(model) if model else {}
    if route.hashes_password:
        values["password_digest"] = passwords.digest(services.settings.password_pepper, values.pop("password"))
    if route.issues_token:
        values["refresh_ttl"] = f"{services.settings.refresh_token_ttl.total_seconds()} seconds"
    return values


def _encode(value: object) -> bytes | None:
    """A parameter in PostgreSQL's text format; its type is the function's to know."""
    if value is None:
        return None
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False).encode()
    return str(value).encode()


def _response(request: web.Request, route: Route, reply: Reply, services: Services) -> web.Response:
    if reply.status >= 400:
        # A refusal that left a trace: raising it would have taken the trace back.
        raise refusals.problem(**msgspec.json.decode(reply.body))
    body = access_token_body(reply.body, services.tokens) if route.issues_token else reply.body
    headers = dict(reply.headers)
    if before := headers.pop("X-Next-Before", None):
        following = request.rel_url.without_query_params("offset").update_query(before=before)
        headers["Link"] = f'<{following}>; rel="next"'
    return _json(reply.status, body, headers)


def _json(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type=JSON, charset="utf-8", headers=headers)
