"""What is outside of ``/api/v1``: health, metrics, public keys, the API's document and its page."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from pathlib import Path

import msgspec
from aiohttp import web

from gateway import __version__
from gateway.api.routes import HEALTH
from gateway.database.lanes import Database
from gateway.http import metrics, openapi
from gateway.http.responses import JSON, Handler
from gateway.http.services import SERVICES
from gateway.problems import Problem
from gateway.tokens.keys import PUBLISHED_FOR

CHECKED_EVERY = 1.0  # seconds
DRAINING = web.AppKey("draining", asyncio.Event)

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_routes(router: web.UrlDispatcher) -> None:
    """Add all of them."""
    router.add_get("/health", _health)
    router.add_get("/health/live", _live)
    router.add_get("/health/ready", _health)
    router.add_get("/health/serving", _serving)
    router.add_get("/metrics", _metrics)
    router.add_get("/.well-known/jwks.json", _jwks)
    router.add_get("/openapi.json", _openapi(openapi.document()))
    for path, file in _page_files().items():
        router.add_get(path, _file(file))


class DatabaseCheck:
    """Whether the database answers, asked once a second at most: probes must not crowd out calls."""

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
    """Whether this worker should get requests: 503 while it stops, or while the database is not right."""
    database = await request.app[DATABASE_CHECK].outcome(request.app[SERVICES].database)
    stopping = request.app[DRAINING].is_set()
    ready = database == "ok" and not stopping
    status = {
        "status": "ok" if ready else "stopping" if stopping else "unavailable",
        "database": database,
        "version": __version__,
    }
    return web.Response(body=msgspec.json.encode(status), status=200 if ready else 503, content_type=JSON)


async def _live(_: web.Request) -> web.Response:
    """Whether this worker runs at all: nothing else can be put right by restarting it."""
    return web.Response(body=b'{"status":"ok"}', content_type=JSON)


async def _serving(request: web.Request) -> web.Response:
    """Whether a proxy should send requests here: until the stop begins. Without the database it should, too:
    then somebody has to say so in the form of every error."""
    stopping = request.app[DRAINING].is_set()
    body = b'{"status":"stopping"}' if stopping else b'{"status":"ok"}'
    return web.Response(body=body, status=503 if stopping else 200, content_type=JSON)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[SERVICES].metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})


async def _jwks(request: web.Request) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(request.app[SERVICES].keys.current().jwks()),
        content_type=JSON,
        headers={"Cache-Control": f"public, max-age={PUBLISHED_FOR}", "Access-Control-Allow-Origin": "*"},
    )


def _openapi(document: bytes) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type=JSON, headers={"Access-Control-Allow-Origin": "*"})

    return handle


def _page_files() -> dict[str, Path]:
    """The page and what it loads. Swagger UI's files come with a package that is not imported."""
    here = Path(__file__).parent / "docs"
    package = importlib.util.find_spec("swagger_ui")
    assert package and package.origin  # noqa: S101 - a dependency of this one
    bundle = Path(package.origin).parent / "static"
    return {
        "/docs": here / "index.html",
        "/docs/start.js": here / "start.js",
        "/docs/swagger-ui.css": bundle / "swagger-ui.css",
        "/docs/swagger-ui-bundle.js": bundle / "swagger-ui-bundle.js",
    }


def _file(path: Path) -> Handler:
    async def handle(_: web.Request) -> web.FileResponse:
        return web.FileResponse(path, headers={"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"})

    return handle
