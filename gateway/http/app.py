"""The aiohttp application, put together."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.api.table import ROUTES
from gateway.http import bodies, calls, health, public_keys
from gateway.http.cross_origin import ORIGINS, Origins
from gateway.http.docs import page
from gateway.http.paths import forms
from gateway.http.responses import answer
from gateway.http.services import services
from gateway.settings.serving import Settings


def create_app(settings: Settings) -> web.Application:
    """The application. It raises OperatorError at its start when something is not set up."""
    app = web.Application(client_max_size=bodies.MAX_BODY, middlewares=[answer])
    app[ORIGINS] = Origins(settings.cors_origins)
    app[health.DRAINING] = asyncio.Event()
    app[health.DATABASE_CHECK] = health.DatabaseCheck()
    app.cleanup_ctx.append(services(settings))

    for route in ROUTES:
        handler = calls.handler(route)
        for path in forms(route.path):
            app.router.add_route(route.method, path, handler, expect_handler=bodies.expect)
    for module in (health, public_keys, page):
        module.add_routes(app.router)
    return app
