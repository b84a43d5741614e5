"""Which browser apps may read our responses (the CORS protocol of the Fetch standard).

A response to an allowed origin has the headers whatever its status: without them an app cannot even tell
a 404 from a lost connection.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from gateway.api import headers
from gateway.problems import Problem

PREFLIGHT_CACHED_FOR = 600  # seconds
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_ALLOWED = ", ".join((
    "Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id", "X-App-Id", "X-Service-Key",
    "X-Requested-With", "traceparent", "tracestate", "baggage", "sentry-trace",
))  # fmt: skip
_EXPOSED = ", ".join(header.name for header in headers.ALL)


class Origins:
    """The origins of browser apps, as ``gateway.settings.parsers.origins`` returns them."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._named = frozenset(origins)
        self._of_any_port = frozenset(origin.removesuffix(":*") for origin in self._named if origin.endswith(":*"))

    def headers(self, request: web.BaseRequest) -> dict[str, str]:
        """The headers of the response to this request; none if its origin is not allowed."""
        origin = request.headers.get("Origin", "")
        if not origin:
            return {}
        if self._is_named(origin):
            # A cookie goes along only to an origin that the operator has named.
            allowed = {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
        elif "*" in self._named:
            allowed = {"Access-Control-Allow-Origin": "*"}
        else:
            return {}
        return allowed | {"Access-Control-Expose-Headers": _EXPOSED}

    def _is_named(self, origin: str) -> bool:
        if origin.endswith("*"):
            return False
        if origin in self._named:
            return True
        host, colon, port = origin.rpartition(":")
        return origin in self._of_any_port or (bool(colon) and port.isdecimal() and host in self._of_any_port)


ORIGINS = web.AppKey("origins", Origins)


def preflight(request: web.Request) -> web.Response | None:
    """The response to a preflight request; None for any other. Raises Problem origin_not_allowed.

    It is the same for all paths: an app that calls one that does not exist has to see the 404.
    """
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    if not request.app[ORIGINS].headers(request):
        raise Problem("origin_not_allowed", "Browser apps of this origin are not allowed here.")
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _ALLOWED,
            "Access-Control-Max-Age": str(PREFLIGHT_CACHED_FOR),
        },
    )
