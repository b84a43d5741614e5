"""The aiohttp application, put together."""

from __future__ import annotations

import asyncio

import aiohttp_cors
from aiohttp import web

from gateway import api, probes
from gateway.answers import answer
from gateway.routes import BASE_PATH, ROUTES
from gateway.services import services
from gateway.settings import Settings

_EXPOSED = (
    "Idempotency-Replayed", "Link", "RateLimit-Limit", "RateLimit-Policy", "RateLimit-Remaining",
    "RateLimit-Reset", "Retry-After", "X-Request-Id",
)  # fmt: skip
_ALLOWED = ("Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id")
PREFLIGHT_CACHED_FOR = 600  # seconds


def create_app(settings: Settings) -> web.Application:
    """The application. It raises OperatorError at its start when something is not set up."""
    app = web.Application(client_max_size=api.MAX_BODY, middlewares=[answer])
    app[probes.DRAINING] = asyncio.Event()
    app[probes.DATABASE_CHECK] = probes.DatabaseCheck()
    app.cleanup_ctx.append(services(settings))

    options = aiohttp_cors.ResourceOptions(
        expose_headers=_EXPOSED, allow_headers=_ALLOWED, max_age=PREFLIGHT_CACHED_FOR
    )
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(settings.cors_origins, options))
    for route in ROUTES:
        path = BASE_PATH + route.path
        cors.add(app.router.add_route(route.method, path, api.handler(route), expect_handler=api.expect))
    probes.add_routes(app.router)
    return app
