"""The aiohttp application, put together."""

from __future__ import annotations

import asyncio

import aiohttp_cors
from aiohttp import web

from gateway.api import headers
from gateway.api.table import ROUTES
from gateway.http import bodies, calls, health, public_keys
from gateway.http.docs import page
from gateway.http.responses import answer
from gateway.http.services import services
from gateway.settings.serving import Settings

_EXPOSED = tuple(header.name for header in headers.ALL)
_ALLOWED = ("Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id")
PREFLIGHT_CACHED_FOR = 600  # seconds


def create_app(settings: Settings) -> web.Application:
    """The application. It raises OperatorError at its start when something is not set up."""
    app = web.Application(client_max_size=bodies.MAX_BODY, middlewares=[answer])
    app[health.DRAINING] = asyncio.Event()
    app[health.DATABASE_CHECK] = health.DatabaseCheck()
    app.cleanup_ctx.append(services(settings))

    options = aiohttp_cors.ResourceOptions(
        expose_headers=_EXPOSED, allow_headers=_ALLOWED, max_age=PREFLIGHT_CACHED_FOR
    )
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(settings.cors_origins, options))
    for route in ROUTES:
        cors.add(app.router.add_route(route.method, route.path, calls.handler(route), expect_handler=bodies.expect))
    for module in (health, public_keys, page):
        module.add_routes(app.router)
    return app
