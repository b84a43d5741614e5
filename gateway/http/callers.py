"""Finds the caller of a request: one strategy for each Access."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
from aiohttp import web

from gateway.api.fields import Request
from gateway.api.route import Access
from gateway.database.calls import Reply
from gateway.http.bodies import Read, read_signed
from gateway.http.services import Services
from gateway.outside import payment_events
from gateway.problems import Problem, payments_not_configured
from gateway.tokens.access_tokens import Caller

# The caller and the content of the request; or a Reply, if the database need not be called.
Identified: TypeAlias = tuple[Caller, Request | payment_events.Event | None] | Reply
Identify: TypeAlias = Callable[[web.Request, Services], Awaitable[Identified]]

ENDPOINT = "webhook"  # where events came from, beside what the worker fetches

_NOBODY = Caller("", "")


def strategy(access: Access, read: Read) -> Identify:
    """How the requests of a route are read and their caller is found. It raises Problem."""
    return _STRATEGIES[access](read)


def _anybody(read: Read) -> Identify:
    async def identify(request: web.Request, _: Services) -> Identified:
        return _NOBODY, await read(request)

    return identify


def _bearer(read: Read) -> Identify:
    async def identify(request: web.Request, services: Services) -> Identified:
        caller = _verify_bearer(request, services)  # before the body, which a request without a token need not send
        return caller, await read(request)

    return identify


def _refresh_token(read: Read) -> Identify:
    async def identify(request: web.Request, _: Services) -> Identified:
        model = await read(request)
        return _named_by(getattr(model, "refresh_token", "")), model

    return identify


def _bearer_or_refresh_token(read: Read) -> Identify:
    async def identify(request: web.Request, services: Services) -> Identified:
        model = await read(request)
        token = getattr(model, "refresh_token", None)
        return _named_by(token) if token else _verify_bearer(request, services), model

    return identify


def _token_in_body(read: Read) -> Identify:
    async def identify(request: web.Request, services: Services) -> Identified:
        model = await read(request)
        try:
            return services.tokens.verify(getattr(model, "token", "")), model
        except Problem as problem:
            # A bad token is a result here and not an error.
            return Reply(200, msgspec.json.encode({"valid": False, "error": problem.code}), {})

    return identify


def _signed(_: Read) -> Identify:
    async def identify(request: web.Request, services: Services) -> Identified:
        secrets = services.settings.stripe_webhook_secrets
        if not secrets:
            raise payments_not_configured()
        body = await read_signed(request)
        return _NOBODY, payment_events.verified(body, request.headers.get("Stripe-Signature", ""), secrets, ENDPOINT)

    return identify


_STRATEGIES: dict[Access, Callable[[Read], Identify]] = {
    Access.ANYBODY: _anybody,
    Access.BEARER: _bearer,
    Access.REFRESH_TOKEN: _refresh_token,
    Access.BEARER_OR_REFRESH_TOKEN: _bearer_or_refresh_token,
    Access.TOKEN_IN_BODY: _token_in_body,
    Access.SIGNED: _signed,
}


def _verify_bearer(request: web.Request, services: Services) -> Caller:
    given = request.headers.getall("Authorization", [""])
    if len(given) > 1:
        raise Problem("invalid_token", "Invalid token: there is more than one Authorization header.")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem("authentication_required", "A bearer token is needed.")
    return services.tokens.verify(token.strip())


def _named_by(refresh_token: str) -> Caller:
    """The user that a refresh token names. The database checks that the token is theirs."""
    try:
        return Caller(str(uuid.UUID(hex=refresh_token.partition(".")[0])), "")
    except ValueError as error:
        raise Problem("invalid_refresh_token", "Invalid refresh token") from error
