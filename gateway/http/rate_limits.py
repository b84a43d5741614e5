"""How many requests a client's networks may make, and how many attempts an account has."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

import structlog
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from gateway.api.route import Limit
from gateway.http.addresses import networks
from gateway.http.counters import Allowance, Counted, MemoryCounter, RedisCounter, Verdict
from gateway.problems import Problem
from gateway.settings.serving import Settings

REDIS_TIMEOUT = 0.2  # seconds
REDIS_RETRY_AFTER = 1.0  # seconds that Redis is left alone after it failed

# The second window of an account: at the defaults 50 attempts an hour, besides 10 a minute.
LONG = 60  # windows
LONG_SHARE = 5  # times the amount of one

_log = structlog.get_logger()

T = TypeVar("T")


class Limiter:
    """The limits of one worker. With Redis they hold over all workers and hosts.

    With Redis down, the general limit is not enforced, and the tighter ones are in memory: the
    service stays up, and a flood of guesses is still slowed down.
    """

    def __init__(self, settings: Settings, on_refusal: Callable[[Limit], None]) -> None:
        self._window = settings.rate_limit_window
        self.enabled = settings.rate_limit_max > 0
        self._amounts = {
            Limit.GENERAL: settings.rate_limit_max,
            Limit.REGISTRATION: settings.rate_limit_auth_max,
            Limit.PASSWORD: settings.rate_limit_auth_max,
            Limit.REFRESH: 3 * settings.rate_limit_auth_max,
            Limit.WEBHOOK: 100 * settings.rate_limit_max,
        }
        self._memory = MemoryCounter()
        self._redis = _redis(settings) if settings.redis_host else None
        self._redis_failed_at = float("-inf")
        self.redis_up = True  # when it was last used
        self._on_refusal = on_refusal

    async def check(self, limit: Limit, route: str, address: str) -> Verdict | None:
        """Count a request of this address. Raises Problem too_many_requests with its headers.

        Returns None if limits are off or Redis is down.
        """
        if not self.enabled:
            return None
        verdict = None
        if limit is not Limit.WEBHOOK:
            verdict = await self._count(Limit.GENERAL, "all", self._counted(Limit.GENERAL, address))
        if limit is not Limit.GENERAL:
            verdict = await self._count(limit, route, self._counted(limit, address))
        return verdict

    async def check_account(self, account: str) -> None:
        """Count an attempt at what only the owner of this account knows. Raises Problem too_many_requests."""
        amount = self._amounts[Limit.PASSWORD]
        short, long = Allowance(amount, self._window), Allowance(LONG_SHARE * amount, LONG * self._window)
        await self._count(Limit.ACCOUNT, "account", [(short, account), (long, account)])

    async def remember(self, name: str, seconds: int) -> None:
        """Remember a name. In memory as well, for when Redis is away."""
        await self._memory.remember(name, seconds)
        if self._redis:
            await self._ask_redis(self._redis.remember(name, seconds))

    async def remembers(self, name: str) -> bool:
        """Whether a name is remembered."""
        return await self._memory.remembers(name) or bool(
            self._redis and await self._ask_redis(self._redis.remembers(name))
        )

    async def look_for_redis(self) -> None:
        """See whether a lost Redis is back. Without traffic, no request would find out."""
        if self._redis and not self.redis_up:
            self.redis_up = await self._redis.is_up()

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._redis:
            await self._redis.close()

    def _counted(self, limit: Limit, address: str) -> list[Counted]:
        """Wider networks come last: a request that its own network is refused costs its neighbours nothing."""
        amount = self._amounts[limit]
        return [(Allowance(share * amount, self._window), network) for network, share in networks(address)]

    async def _count(self, limit: Limit, scope: str, counted: Sequence[Counted]) -> Verdict | None:
        verdict = await self._ask_redis(self._redis.count(scope, counted)) if self._redis else None
        if verdict is None:
            if self._redis and limit is Limit.GENERAL:
                return None
            verdict = await self._memory.count(scope, counted)
        if not verdict.allowed:
            self._on_refusal(limit)
            raise Problem(
                "too_many_requests",
                f"Request failed: too many requests. Try again in {verdict.reset} seconds.",
                headers={"Retry-After": str(verdict.reset), **verdict.headers},
            )
        return verdict

    async def _ask_redis(self, question: Coroutine[None, None, T]) -> T | None:
        """The answer; None while Redis is away."""
        if not self._redis or time.monotonic() - self._redis_failed_at <= REDIS_RETRY_AFTER:
            question.close()
            return None
        try:
            answer = await question
        except (RedisError, OSError, RuntimeError) as error:  # the last is uvloop's, of a reset connection
            self._redis_failed_at = time.monotonic()
            self.redis_up = False
            _log.warning("redis_unreachable", error=type(error).__name__)
            # Idle connections are dead as well, and each would cost its next request this timeout again.
            await self._redis.drop_idle()
            return None
        self.redis_up = True
        return answer


def _redis(settings: Settings) -> RedisCounter:
    return RedisCounter(
        ConnectionPool(
            host=settings.redis_host,
            port=settings.redis_port,
            password=settings.redis_password or None,
            socket_timeout=REDIS_TIMEOUT,
            socket_connect_timeout=REDIS_TIMEOUT,
        )
    )
