"""How many requests one client address may make: in Redis, or in memory without Redis."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from gateway.api.route import Limit
from gateway.problems import Problem
from gateway.settings.serving import Settings

REDIS_TIMEOUT = 0.2  # seconds
REDIS_RETRY_AFTER = 1.0  # seconds that Redis is left alone after it failed

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rest of the nearest limit: requests, and seconds until there are more."""

    limit: int
    remaining: int
    reset: int
    window: int

    @property
    def headers(self) -> dict[str, str]:
        """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers, version 6)."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
            "RateLimit-Policy": f"{self.limit};w={self.window}",
        }


class Limiter:
    """The limits of one worker. With Redis they hold over all workers and hosts.

    With Redis down, the general limit is not enforced, and the tighter ones are in memory: the
    service stays up, and a flood of guesses is still slowed down.
    """

    def __init__(self, settings: Settings, on_refusal: Callable[[Limit], None]) -> None:
        window = settings.rate_limit_window
        self._window = window
        self._enabled = settings.rate_limit_max > 0
        self._items: dict[Limit, RateLimitItem] = {
            Limit.GENERAL: RateLimitItemPerSecond(settings.rate_limit_max, window, "mana"),
            Limit.PASSWORD: RateLimitItemPerSecond(settings.rate_limit_auth_max, window, "mana"),
            Limit.REFRESH: RateLimitItemPerSecond(3 * settings.rate_limit_auth_max, window, "mana"),
        }
        self._memory = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._connections = _connections(settings)
        self._redis = _redis(self._connections) if self._connections else None
        self._redis_failed_at = float("-inf")
        self.redis_up = True  # when it was last used
        self._on_refusal = on_refusal

    async def check(self, limit: Limit, route: str, address: str) -> Verdict | None:
        """Count a request of this address. Raises Problem too_many_requests with its headers.

        Returns None if limits are off or Redis is down.
        """
        if not self._enabled:
            return None
        client = client_network(address)
        verdict = await self._hit(Limit.GENERAL, "all", client)
        if limit is not Limit.GENERAL:
            verdict = await self._hit(limit, route, client)
        return verdict

    async def look_for_redis(self) -> None:
        """See whether a lost Redis is back. Without traffic, no request would find out."""
        if self._redis and not self.redis_up:
            self.redis_up = await self._redis.storage.check()

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._connections:
            await self._connections.aclose()

    async def _hit(self, limit: Limit, scope: str, client: str) -> Verdict | None:
        item = self._items[limit]
        if self._connections and self._redis and time.monotonic() - self._redis_failed_at > REDIS_RETRY_AFTER:
            try:
                verdict = await self._count(self._redis, limit, item, scope, client)
            except (RedisError, OSError, RuntimeError) as error:  # the last is uvloop's, of a reset connection
                self._redis_failed_at = time.monotonic()
                self.redis_up = False
                _log.warning("redis_unreachable", error=type(error).__name__)
                # Idle connections are dead as well, and each would cost its next request this timeout again.
                await self._connections.disconnect(inuse_connections=False)
            else:
                self.redis_up = True
                return verdict
        if self._redis and limit is Limit.GENERAL:
            return None
        return await self._count(self._memory, limit, item, scope, client)

    async def _count(
        self,
        strategy: SlidingWindowCounterRateLimiter,
        limit: Limit,
        item: RateLimitItem,
        scope: str,
        client: str,
    ) -> Verdict:
        allowed = await strategy.hit(item, scope, client)
        stats = await strategy.get_window_stats(item, scope, client)
        reset = max(1, min(self._window, int(stats.reset_time - time.time()) + 1))
        verdict = Verdict(item.amount, max(0, stats.remaining), reset, self._window)
        if not allowed:
            self._on_refusal(limit)
            raise Problem(
                "too_many_requests",
                f"Request failed: too many requests. Try again in {reset} seconds.",
                headers={"Retry-After": str(reset), **verdict.headers},
            )
        return verdict


def client_address(peer: str, forwarded_for: list[str], trusted_proxies: int) -> str:
    """The address of the client, as the trusted proxies in front report it.

    Each of them appends the address it was called from to X-Forwarded-For, so the entry of the
    outermost one is counted from the right; a client can write anything to the left of it.
    """
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    if not trusted_proxies or len(hops) < trusted_proxies:
        return peer
    try:
        return str(ipaddress.ip_address(hops[-trusted_proxies].partition("%")[0]))
    except ValueError:
        return peer


def client_network(address: str) -> str:
    """The unit that a limit counts: an IPv4 address, or the /64 that an IPv6 customer has at least."""
    if ":" not in address:
        return address
    ip = ipaddress.IPv6Address(address.partition("%")[0])
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip, 64), strict=False))


def _connections(settings: Settings) -> ConnectionPool | None:
    if not settings.redis_host:
        return None
    return ConnectionPool(
        host=settings.redis_host,
        port=settings.redis_port,
        password=settings.redis_password or None,
        socket_timeout=REDIS_TIMEOUT,
        socket_connect_timeout=REDIS_TIMEOUT,
    )


def _redis(connections: ConnectionPool) -> SlidingWindowCounterRateLimiter:
    options: dict[str, Any] = {"connection_pool": connections}
    storage = RedisStorage("async+redis://", implementation="redispy", key_prefix="mana", **options)
    return SlidingWindowCounterRateLimiter(storage)
