"""Pages of transactions."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from aiohttp import web

from gateway.database.calls import Reply
from gateway.http.services import Services


def link_next_page(reply: Reply, request: web.Request, _: msgspec.Struct | None, __: Services) -> Reply:
    """Turns X-Next-Before, the cursor of the next page, into a link (RFC 8288)."""
    headers = dict(reply.headers)
    if before := headers.pop("X-Next-Before", None):
        following = request.rel_url.without_query_params("offset").update_query(before=before)
        headers["Link"] = f'<{following}>; rel="next"'
    return replace(reply, headers=headers)
