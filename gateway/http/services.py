"""The parts that live as long as the application, opened and closed with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from aiohttp import web

from gateway import logs
from gateway.api.statements import HEALTH
from gateway.database.database import Database
from gateway.http.guesses import Guesses
from gateway.http.metrics import Metrics
from gateway.http.rate_limits import Limiter
from gateway.outside.payments import Payments, connected
from gateway.problems import OperatorError, Problem
from gateway.settings.serving import Settings
from gateway.tokens.access_tokens import TokenIssuer
from gateway.tokens.keys import RELOADED_AFTER, KeyDirectory, KeyRing, from_pem

GAUGED_EVERY = 1.0  # seconds
DATABASE_AWAITED_FOR = 5.0  # seconds before serving without it

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that requests need."""

    settings: Settings
    database: Database
    tokens: TokenIssuer
    keys: KeySource
    limiter: Limiter
    guesses: Guesses
    metrics: Metrics
    payments: Payments | None  # without a key, nothing can be bought


SERVICES = web.AppKey("services", Services)


def services(settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    """A cleanup context. Raises OperatorError when something is not set up."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        metrics = Metrics()
        keys = KeySource(settings)
        ttl = int(settings.access_token_ttl.total_seconds())
        tokens = TokenIssuer(keys.current, settings.jwt_issuer, settings.jwt_audience, ttl)
        limiter = Limiter(settings, lambda limit: metrics.limited.labels(limit.value).inc())
        guesses = Guesses(limiter, settings.password_pepper)
        database = Database(settings.database_url, settings.database_connections, settings.password_connections)
        try:
            async with (
                connected(settings.stripe_secret_key, settings.stripe_api_base) as payments,
                database.running(),
                _background(keys.follow()),
                _background(_gauge(database, limiter, metrics)),
            ):
                app[SERVICES] = Services(settings, database, tokens, keys, limiter, guesses, metrics, payments)
                await _check_database(database)
                yield
        finally:
            await limiter.close()

    return context


class KeySource:
    """The current key ring: fixed if it comes from the environment, else that of the directory."""

    def __init__(self, settings: Settings) -> None:
        self._directory = KeyDirectory(settings.data_dir / "keys")
        self._fixed = bool(settings.jwt_private_key)
        self._version = self._directory.version
        self._ring = (
            from_pem(settings.jwt_private_key, settings.jwt_public_key) if self._fixed else self._directory.load()
        )

    def current(self) -> KeyRing:
        """The keys as they are now."""
        return self._ring

    async def follow(self) -> None:
        """Pick up rotations until cancelled."""
        while not self._fixed:
            await asyncio.sleep(RELOADED_AFTER / 2)
            version = self._directory.version
            if version == self._version:
                continue
            try:
                self._ring, self._version = self._directory.load(), version
            except (OperatorError, OSError, ValueError) as error:
                _log.error("signing_keys_unreadable", error=type(error).__name__)
            else:
                _log.info("signing_keys_reloaded")


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _gauge(database: Database, limiter: Limiter, metrics: Metrics) -> None:
    """Export how busy the lanes are: with several workers, any of them may be asked."""
    while True:
        await limiter.look_for_redis()
        metrics.redis_up.set(limiter.redis_up)
        metrics.log_lines_lost.inc(logs.take_lost())
        for lane in database.lanes:
            metrics.calls.labels(lane.name, "waiting").set(lane.waiting)
            metrics.calls.labels(lane.name, "in_flight").set(lane.in_flight)
            metrics.connections.labels(lane.name).set(lane.connections)
        await asyncio.sleep(GAUGED_EVERY)


async def _check_database(database: Database) -> None:
    """Refuse to start on a database that is not set up. One that is away may come back."""
    deadline = time.monotonic() + DATABASE_AWAITED_FOR
    while True:
        try:
            reply = await database.call(HEALTH, ())
            break
        except Problem as problem:
            if problem.code != "service_unavailable":
                raise OperatorError(
                    "the database does not have this release's functions", hint="run: mana migrate apply"
                ) from problem
            if time.monotonic() > deadline:
                _log.warning("serving_without_database")
                return
    problems = msgspec.json.decode(reply.body)["problems"]
    if problems:
        raise OperatorError("\n".join(problems), hint="see the README, section PostgreSQL settings")
