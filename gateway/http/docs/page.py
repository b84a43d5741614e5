"""The OpenAPI document and its page, as they are served."""

from __future__ import annotations

import importlib.util
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from gateway.http.docs.document import document
from gateway.http.paths import forms
from gateway.http.responses import JSON, Handler

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_routes(router: web.UrlDispatcher) -> None:
    """Add the document and the page."""
    text = document()
    for form in forms("/openapi.json"):
        router.add_get(form, _openapi(text))
    router.add_get("/docs/", _without_slash)
    for path, file in _page_files().items():
        router.add_get(path, _file(file))


def _openapi(text: bytes) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=text, content_type=JSON, headers={"Access-Control-Allow-Origin": "*"})

    return handle


async def _without_slash(_: web.Request) -> web.Response:
    """The page names its files by their place beside it."""
    return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": "../docs"})


def _page_files() -> dict[str, Path]:
    """The page and the files it loads. Swagger UI's come with a package that is not imported."""
    here = Path(__file__).parent
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
