"""From a request on the socket to a checked struct: everything known of a route is worked out once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
from aiohttp import web

from gateway.api.fields import Request
from gateway.api.route import Route
from gateway.http.parsing import form_of, parse_body, parse_query
from gateway.http.responses import JSON
from gateway.problems import FieldError, Problem, invalid_request

MAX_BODY = 64 * 1024  # bytes
MAX_SIGNED = 512 * 1024  # bytes, of what the payment provider sends
BODY_ARRIVES_WITHIN = 10.0  # seconds
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')

Read: TypeAlias = Callable[[web.Request], Awaitable[Request | None]]


def reader(route: Route) -> Read:
    """A function that reads the body or the query of this route's requests. It raises Problem."""
    if route.query:
        return _query_reader(route.query)
    if route.body:
        return _body_reader(route.body)
    return _read_nothing


def _query_reader(model: type[Request]) -> Read:
    form = form_of(model)

    async def read(request: web.Request) -> Request:
        return parse_query(request.query, form)

    return read


def _body_reader(model: type[Request]) -> Read:
    form = form_of(model)
    takes_key = "idempotency_key" in model.__struct_fields__
    empty = b"" if any(field.required for field in msgspec.structs.fields(model)) else b"{}"

    async def read(request: web.Request) -> Request:
        raw = await _read_bytes(request)
        keys = request.headers.getall("Idempotency-Key", []) if takes_key else []
        if len(keys) > 1:
            raise invalid_request(FieldError("idempotencyKey", "appears in two headers"))
        return parse_body(raw or empty, form, {"idempotencyKey": idempotency_key(keys[0])} if keys else {})

    return read


def idempotency_key(header: str) -> str:
    """The key in a header: a string as RFC 9651, section 3.3.3 writes it, or the text as it is.

    Raises Problem invalid_request for a text that begins or ends as a string and is none.
    """
    if quoted := _QUOTED.fullmatch(header):
        return re.sub(r'\\(["\\])', r"\1", quoted[1])
    if header.startswith('"') or header.endswith('"'):
        raise invalid_request(FieldError("idempotencyKey", "has a quotation mark without its other one"))
    return header


async def _read_nothing(_: web.Request) -> None:
    return None


async def expect(request: web.Request) -> None:
    """Grants 100-continue. Other expectations are ignored, which RFC 9110, section 10.1.1 allows."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def read_signed(request: web.Request) -> bytes:
    """The body that a signature is for, byte by byte. Raises Problem."""
    return await _read_raw(request.clone(client_max_size=MAX_SIGNED), MAX_SIGNED)


async def _read_bytes(request: web.Request) -> bytes:
    """The body as it was sent, of MAX_BODY at most. Raises Problem."""
    raw = await _read_raw(request, MAX_BODY)
    if raw and request.content_type != JSON:
        raise Problem("unsupported_media_type", f"The body must be {JSON}.")
    return raw


async def _read_raw(request: web.BaseRequest, most: int) -> bytes:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem("unsupported_media_type", "A compressed body is not accepted.")
    try:
        if (request.content_length or 0) > most:
            raise web.HTTPRequestEntityTooLarge(most)
        async with asyncio.timeout(BODY_ARRIVES_WITHIN):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise Problem("payload_too_large", f"The body must not exceed {most} bytes.") from error
    except (TimeoutError, ConnectionError) as error:  # too slow, or gone
        raise Problem("request_timeout", "The body did not arrive in time.") from error
