"""The handler of every route: find the caller, call the database once, pass its reply on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec
import structlog
from aiohttp import web

from gateway.api.route import Route
from gateway.database import refusals
from gateway.database.calls import Reply
from gateway.http import bodies, callers, guesses, steps
from gateway.http.addresses import client_address
from gateway.http.parsing import fit_to_store
from gateway.http.responses import JSON, REQUEST_ID, VERDICT, Handler
from gateway.http.services import SERVICES, Services
from gateway.problems import Problem

MAX_USER_AGENT = 512  # characters

_log = structlog.get_logger()


def handler(route: Route) -> Handler:
    """The aiohttp handler of a route. Raises KeyError if a step of it is not implemented."""
    identify = callers.strategy(route.access, bodies.reader(route))
    before = [steps.BEFORE[step] for step in route.before]
    after = [steps.AFTER[step] for step in route.after]
    outside = steps.OUTSIDE[route.outside] if route.outside else None
    guarded = guesses.guard(route)
    statement, parameters, in_path = route.statement, route.parameters, tuple(route.in_path.items())

    async def handle(request: web.Request) -> web.StreamResponse:
        services = request.app[SERVICES]
        address = _client_address(request, services)
        verdict = await services.limiter.check(route.limit, route.function, address)
        if verdict:
            request[VERDICT] = verdict

        found = await identify(request, services)
        if isinstance(found, Reply):
            return _response(found)
        caller, model = found
        # A request that names a user by itself has no caller.
        values = {"user_id": caller.user_id, **(msgspec.structs.asdict(model) if model else {})}
        for name, given in in_path:
            values[name] = _uuid(request.match_info[given])
        for prepare in before:
            prepare(values, services.settings)
        values |= {"claims": caller.claims, "context": _context(request, address)}
        async with guarded(services.guesses, caller, model, address):
            reply = await services.database.call(statement, [_encode(values[name]) for name in parameters])

            services.metrics.count(reply.events)
            if reply.status >= 400:
                # A refusal that left a trace: raising it in the database would have rolled the trace back.
                raise refusals.refused(**msgspec.json.decode(reply.body))
        for follow in after:
            reply = follow(reply, request, model, services)
        if outside:
            write_down = _second_call(route, services, _context(request, address))
            reply = await outside(reply, model, services, write_down)
        return _response(reply)

    return handle


def _second_call(route: Route, services: Services, context: str) -> steps.purchases.WriteDown:
    """What writes down what was answered outside. Returns None if that was lost, which does no harm."""
    statement, names = route.second_statement, route.outside.parameters if route.outside else ()

    async def write_down(values: Mapping[str, object]) -> Reply | None:
        if statement is None:
            raise TypeError(f"{route.function} has no second call")
        values = {**values, "context": context}
        try:
            reply = await services.database.call(statement, [_encode(values[name]) for name in names])
        except Problem as problem:
            _log.warning("second_call_lost", function=statement.name, code=problem.code)
            return None
        services.metrics.count(reply.events)
        return reply

    return write_down


def _uuid(text: str) -> str:
    """An id in a path. Raises Problem not_found: nothing has another one."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise Problem("not_found", "There is nothing here.") from error


def _client_address(request: web.Request, services: Services) -> str:
    forwarded = request.headers.getall("X-Forwarded-For", [])
    return client_address(request.remote or "", forwarded, services.settings.trusted_proxies)


def _context(request: web.Request, address: str) -> str:
    agent = fit_to_store(request.headers.get("User-Agent", ""), MAX_USER_AGENT)
    context = {"ip": address, "userAgent": agent, "requestId": request[REQUEST_ID]}
    return msgspec.json.encode(context).decode()


def _encode(value: object) -> bytes | None:
    """A parameter in PostgreSQL's text format; the function determines its type."""
    if value is None:
        return None
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    return str(value).encode()


def _response(reply: Reply) -> web.Response:
    return web.Response(body=reply.body, status=reply.status, content_type=JSON, charset="utf-8", headers=reply.headers)
