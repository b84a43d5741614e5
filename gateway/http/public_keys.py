"""The public keys that verify access tokens (RFC 7517)."""

from __future__ import annotations

import msgspec
from aiohttp import web

from gateway.api.public_keys import OLDER_PATHS, PATH
from gateway.http.paths import forms
from gateway.http.responses import JSON
from gateway.http.services import SERVICES
from gateway.tokens.keys import PUBLISHED_FOR


def add_routes(router: web.UrlDispatcher) -> None:
    """Add the key set, also where older backends look for it."""
    for path in (PATH, *OLDER_PATHS):
        for form in forms(path):
            router.add_get(form, _jwks)


async def _jwks(request: web.Request) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(request.app[SERVICES].keys.current().jwks()),
        content_type=JSON,
        headers={"Cache-Control": f"public, max-age={PUBLISHED_FOR}", "Access-Control-Allow-Origin": "*"},
    )
