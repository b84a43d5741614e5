"""Health checks and metrics."""

from __future__ import annotations

import asyncio
import time

import msgspec
from aiohttp import web

from gateway import __version__
from gateway.api.statements import HEALTH
from gateway.database.database import Database
from gateway.http import metrics
from gateway.http.paths import forms
from gateway.http.responses import JSON
from gateway.http.services import SERVICES
from gateway.problems import Problem

CHECKED_EVERY = 1.0  # seconds
_STOPPING = "Request failed: the service is stopping."
DRAINING = web.AppKey("draining", asyncio.Event)


def add_routes(router: web.UrlDispatcher) -> None:
    """Add /health and /metrics."""
    for path, handler in (
        ("/health", _health),
        ("/health/live", _live),
        ("/health/ready", _health),
        ("/health/serving", _serving),
        ("/metrics", _metrics),
    ):
        for form in forms(path):
            router.add_get(form, handler)


class DatabaseCheck:
    """Whether the database answers, checked once a second at most, so that probes do not crowd out calls."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._asking: asyncio.Future[str] | None = None

    async def outcome(self, database: Database) -> str:
        """``ok``, ``misconfigured`` or ``unreachable``."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at > CHECKED_EVERY):
            self._asked_at = now
            self._asking = asyncio.ensure_future(self._ask(database))
        return await asyncio.shield(self._asking)

    async def _ask(self, database: Database) -> str:
        try:
            reply = await database.call(HEALTH, ())
        except Problem:
            return "unreachable"
        return "ok" if reply.status == 200 else "misconfigured"


DATABASE_CHECK = web.AppKey("database_check", DatabaseCheck)


async def _health(request: web.Request) -> web.Response:
    """Returns 503 as soon as shutdown begins, and while the database is away or misconfigured."""
    database = await request.app[DATABASE_CHECK].outcome(request.app[SERVICES].database)
    stopping = request.app[DRAINING].is_set()
    ready = database == "ok" and not stopping
    status = {
        "status": "ok" if ready else "stopping" if stopping else "unavailable",
        "database": database,
        "version": __version__,
    }
    if not ready:
        status["message"] = _STOPPING if stopping else f"Request failed: the database is {database}."
    return web.Response(body=msgspec.json.encode(status), status=200 if ready else 503, content_type=JSON)


async def _live(_: web.Request) -> web.Response:
    """Returns 200 while the worker runs: a restart can correct nothing else."""
    return web.Response(body=b'{"status":"ok"}', content_type=JSON)


async def _serving(request: web.Request) -> web.Response:
    """Returns 503 as soon as shutdown begins, so that a proxy sends no more requests. A missing database does
    not count: the gateway answers those requests with a problem."""
    stopping = request.app[DRAINING].is_set()
    status = {"status": "stopping", "message": _STOPPING} if stopping else {"status": "ok"}
    return web.Response(body=msgspec.json.encode(status), status=503 if stopping else 200, content_type=JSON)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[SERVICES].metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})
