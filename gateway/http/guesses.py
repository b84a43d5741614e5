"""How often the password or a code of one account may be tried, from wherever."""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TypeAlias

import msgspec

from gateway.api.route import Access, Limit, Route
from gateway.http.addresses import networks
from gateway.http.rate_limits import Limiter
from gateway.tokens.access_tokens import Caller

KNOWN_FOR = 30 * 86400  # seconds

# Surrounds the call of a route: entering raises Problem too_many_requests, leaving without an error is a success.
Guard: TypeAlias = Callable[["Guesses", Caller, msgspec.Struct | None, str], AbstractAsyncContextManager[None]]


class Guesses:
    """Attempts at accounts, counted whatever comes of them and whether or not the account exists.

    All strangers together have one allowance for an account, so that their number does not help them. A client is
    known to an account for KNOWN_FOR after it has succeeded there, by its device and by its network, and has an
    allowance of its own: strangers cannot use that up and lock the owner out. A success ends no count.
    """

    def __init__(self, limiter: Limiter, pepper: str) -> None:
        self._limiter = limiter
        self._key = hmac.digest(pepper.encode(), b"names of accounts in rate limits", "sha256")

    @asynccontextmanager
    async def attempt(self, account: str, device: str | None, address: str) -> AsyncIterator[None]:
        """Raises Problem too_many_requests. The client becomes known unless an error ends the context."""
        if not self._limiter.enabled:
            yield
            return
        places = [("network", networks(address)[0][0])]
        if device:
            places.insert(0, ("device", device))
        clients = [self._name(account, *place) for place in places]
        known = [client for client in clients if await self._limiter.remembers(client)]
        await self._limiter.check_account(known[0] if known else self._name(account))
        yield
        for client in clients:
            await self._limiter.remember(client, KNOWN_FOR)

    def _name(self, *parts: str) -> str:
        """A keyed hash: Redis learns no addresses of people, and nobody can look for one there."""
        text = "\0".join(unicodedata.normalize("NFKC", part).casefold() for part in parts)
        return hmac.digest(self._key, text.encode(), "sha256").hex()


def guard(route: Route) -> Guard:
    """What surrounds the calls of a route. Raises ValueError if the route checks a secret and names no account."""
    if route.limit is not Limit.PASSWORD:
        return lambda *_: _UNGUARDED
    if route.body and "email" in route.body.__struct_fields__:
        return lambda guesses, _, model, address: guesses.attempt(
            f"email {getattr(model, 'email', '')}", getattr(model, "device_id", None), address
        )
    if route.access is Access.BEARER:
        return lambda guesses, caller, model, address: guesses.attempt(
            f"user {caller.user_id}", getattr(model, "device_id", None), address
        )
    raise ValueError(f"{route.function} checks a secret of an account that the gateway does not know")


_UNGUARDED: AbstractAsyncContextManager[None] = nullcontext()
