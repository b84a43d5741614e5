"""Metrics of spending."""

from __future__ import annotations

import msgspec
from aiohttp import web

from gateway.database.calls import Reply
from gateway.http.services import Services


def count_spent(reply: Reply, _: web.Request, model: msgspec.Struct | None, services: Services) -> Reply:
    """Counts the amount, unless the reply repeats that of an earlier request."""
    if "Idempotency-Replayed" not in reply.headers:
        services.metrics.spent.inc(getattr(model, "amount", 0))
    return reply
