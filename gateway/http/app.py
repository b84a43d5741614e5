"""The aiohttp application, put together."""

from __future__ import annotations

import asyncio

import aiohttp_cors
from aiohttp import web

from gateway.api.routes import BASE_PATH, ROUTES
from gateway.http import calls, health
from gateway.http.responses import answer
from gateway.http.services import services
from gateway.settings.serving import Settings

_EXPOSED = (
    "Idempotency-Replayed", "Link", "RateLimit-Limit", "RateLimit-Policy", "RateLimit-Remaining",
    "RateLimit-Reset", "Retry-After", "X-Request-Id",
)  # fmt: skip
_ALLOWED = ("Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id")
PREFLIGHT_CACHED_FOR = 600  # seconds


def create_app(settings: Settings) -> web.Application:
    """The application. It raises OperatorError at its start when something is not set up."""
    app = web.Application(client_max_size=calls.MAX_BODY, middlewares=[answer])
    app[health.DRAINING] = asyncio.Event()
    app[health.DATABASE_CHECK] = health.DatabaseCheck()
    app.cleanup_ctx.append(services(settings))

    options = aiohttp_cors.ResourceOptions(
        expose_headers=_EXPOSED, allow_headers=_ALLOWED, max_age=PREFLIGHT_CACHED_FOR
    )
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(settings.cors_origins, options))
    for route in ROUTES:
        path = BASE_PATH + route.path
        cors.add(app.router.add_route(route.method, path, calls.handler(route), expect_handler=calls.expect))
    health.add_routes(app.router)
    return app
