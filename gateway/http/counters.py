"""Counters of requests in sliding windows: in Redis, over all workers and hosts, or in the memory of one worker."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeAlias

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError

PREFIX = "mana"  # of every key: Redis lets us reach no others
REMEMBERED = 10_000  # names in memory, about a megabyte
COUNTED = 20_000  # windows of names in memory, for each scope, about five megabytes
_SCRIPT = Path(__file__).with_name("count_requests.lua")


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many requests in how many seconds."""

    amount: int
    window: int


# An allowance, and the name that it is for.
Counted: TypeAlias = tuple[Allowance, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rest of a limit: requests, and seconds until there are more."""

    limit: int
    remaining: int
    reset: int
    window: int
    allowed: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers, version 6)."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
            "RateLimit-Policy": f"{self.limit};w={self.window}",
        }


class Counter(Protocol):
    """Where requests are counted."""

    async def count(self, scope: str, counted: Sequence[Counted]) -> Verdict:
        """Count a request for each name, in order, up to the first that it is refused for.

        The verdict is that one's; if the request is allowed, the first one's.
        """

    async def remember(self, name: str, seconds: int) -> None:
        """Remember a name for so long."""

    async def remembers(self, name: str) -> bool:
        """Whether a name is remembered."""


class BoundedStorage(MemoryStorage):
    """Keeps at most so many counts; those that began first are forgotten first.

    The library's own keeps all that have not expired, and looks through them at every request.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a count, which expires so many seconds after its first. Returns its sum."""
        count = await self.get(key) + amount  # and forgets it if it has expired
        self.storage[key] = count
        if count == amount:
            self.expirations[key] = time.time() + expiry
            if len(self.storage) > self._most:
                await self.clear(next(iter(self.storage)))
        return count


class MemoryCounter:
    """Counts in memory, with the library ``limits``.

    Each scope has a storage of its own: names that cost little to make up drive out no others.
    """

    def __init__(self) -> None:
        self._strategies: dict[str, SlidingWindowCounterRateLimiter] = {}
        self._remembered: dict[str, float] = {}  # until when, oldest first

    async def count(self, scope: str, counted: Sequence[Counted]) -> Verdict:
        """See Counter."""
        strategy = self._strategies.get(scope)
        if not strategy:
            strategy = self._strategies[scope] = SlidingWindowCounterRateLimiter(BoundedStorage(COUNTED))
        for allowance, name in counted:
            if not await strategy.hit(_item(allowance), scope, name):
                return await _verdict(strategy, allowance, scope, name, allowed=False)
        return await _verdict(strategy, *_first(counted, scope), allowed=True)

    async def remember(self, name: str, seconds: int) -> None:
        """See Counter."""
        self._remembered.pop(name, None)
        self._remembered[name] = time.monotonic() + seconds
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    async def remembers(self, name: str) -> bool:
        """See Counter."""
        return time.monotonic() < self._remembered.get(name, 0.0)


class RedisCounter:
    """Counts in Redis. Its methods raise RedisError and OSError."""

    def __init__(self, connections: ConnectionPool) -> None:
        self._connections = connections
        self._client = Redis(connection_pool=connections)
        self._script = self._client.register_script(_SCRIPT.read_text())

    async def count(self, scope: str, counted: Sequence[Counted]) -> Verdict:
        """See Counter."""
        keys, arguments = [], []
        for allowance, name in counted:
            key = f"{PREFIX}/{scope}/{name}/{allowance.amount}/{allowance.window}"
            keys += [f"{key}/before", key]
            arguments += [allowance.amount, allowance.window * 1000]
        refused, remaining, reset = await self._script(keys, arguments)
        allowance = counted[max(0, refused - 1)][0]
        return Verdict(
            allowance.amount, remaining, _seconds(reset / 1000, allowance), allowance.window, allowed=not refused
        )

    async def remember(self, name: str, seconds: int) -> None:
        """See Counter."""
        await self._client.set(f"{PREFIX}/remembered/{name}", 1, ex=seconds)

    async def remembers(self, name: str) -> bool:
        """See Counter."""
        return bool(await self._client.exists(f"{PREFIX}/remembered/{name}"))

    async def is_up(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(await self._client.ping())
        except (RedisError, OSError, RuntimeError):
            return False

    async def drop_idle(self) -> None:
        """Close the connections that nobody uses."""
        await self._connections.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.aclose()


async def _verdict(
    strategy: SlidingWindowCounterRateLimiter, allowance: Allowance, scope: str, name: str, *, allowed: bool
) -> Verdict:
    stats = await strategy.get_window_stats(_item(allowance), scope, name)
    reset = _seconds(stats.reset_time - time.time(), allowance)
    return Verdict(allowance.amount, max(0, stats.remaining), reset, allowance.window, allowed)


@lru_cache
def _item(allowance: Allowance) -> RateLimitItem:
    return RateLimitItemPerSecond(allowance.amount, allowance.window, PREFIX)


def _first(counted: Sequence[Counted], scope: str) -> tuple[Allowance, str, str]:
    allowance, name = counted[0]
    return allowance, scope, name


def _seconds(time_left: float, allowance: Allowance) -> int:
    return max(1, min(allowance.window, math.ceil(time_left)))
