"""The gateway has the settings and the keys of sessions; the database has the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from gateway.database.calls import Reply
from gateway.http.services import Services
from gateway.settings.serving import Settings
from gateway.tokens.access_tokens import access_token_body


def set_refresh_ttl(values: dict[str, Any], settings: Settings) -> None:
    """Passes the lifetime of a refresh token, an interval."""
    values["refresh_ttl"] = f"{settings.refresh_token_ttl.total_seconds()} seconds"


def sign_access_token(reply: Reply, _: web.Request, __: msgspec.Struct | None, services: Services) -> Reply:
    """Turns the claims in the body into an access token."""
    return replace(reply, body=access_token_body(reply.body, services.tokens))
