"""The client that tests talk to a service with."""

from __future__ import annotations

import json
import re
import secrets
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.api.route import Access
from gateway.api.table import ROUTES
from gateway.problems import KEEPS_TOKENS

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers and its decoded body."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str


@dataclass
class Session:
    """A logged-in user, as an app has it."""

    service: Service
    user_id: str
    email: str
    access_token: str
    refresh_token: str

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.service.get(path, token=self.access_token, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Reply:
        return await self.service.post(path, body, token=self.access_token, **options)

    async def use(self, amount: int = 1, **fields: Any) -> Reply:
        """Spend credits."""
        body = {"amount": amount, "appId": "tests", "description": "a test", **fields}
        return await self.post("/api/v1/credits/use", body)

    async def balance(self) -> dict[str, Any]:
        reply = await self.get("/api/v1/credits/balance")
        assert reply.status == 200, reply.text
        balance: dict[str, Any] = reply.body
        return balance


class EveryNameIs(AbstractResolver):
    """Leads every name to one host."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self._host, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """There is nothing to close."""


# All but what the payment provider calls, with a signature of its own.
ROUTES_OF_APPS = [route for route in ROUTES if route.access is not Access.SIGNED]


@dataclass
class Service:
    """A client of one gateway."""

    url: str
    client: aiohttp.ClientSession = field(init=False)

    async def __aenter__(self) -> Self:
        self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: object = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """``body`` is sent as JSON, ``data`` as it is. An id that a route's path leaves open is that of nothing."""
        path = re.sub(r"\{\w+\}", str(uuid.UUID(int=0)), path)
        sent = dict(headers or {})
        if token:
            sent.setdefault("Authorization", f"Bearer {token}")
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.client.request(
            method, self.url + path, data=data, headers=sent, allow_redirects=False
        ) as response:
            text = await response.text(errors="replace")
            decoded = json.loads(text) if "json" in response.content_type and text else None
            return Reply(response.status, response.headers, decoded, text)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Reply:
        return await self.request("POST", path, body=body, **options)

    async def register(self, email: str | None = None, password: str = PASSWORD, **fields: Any) -> Reply:
        address = email or f"{secrets.token_hex(8)}@example.com"
        return await self.post("/api/v1/auth/register", {"email": address, "password": password, **fields})

    async def login(self, email: str, password: str = PASSWORD, **fields: Any) -> Reply:
        return await self.post("/api/v1/auth/login", {"email": email, "password": password, **fields})

    async def new_session(self, **fields: Any) -> Session:
        """Register a new user and log in."""
        registered = await self.register()
        assert registered.status == 201, registered.text
        return await self.session(registered.body["email"], **fields)

    async def session(self, email: str, **fields: Any) -> Session:
        """Log in once more."""
        reply = await self.login(email, **fields)
        assert reply.status == 200, reply.text
        body = reply.body
        return Session(self, body["user"]["id"], email, body["accessToken"], body["refreshToken"])

    async def refresh(self, refresh_token: str) -> Reply:
        return await self.post("/api/v1/auth/refresh", {"refreshToken": refresh_token})


def assert_problem(reply: Reply, status: int, code: str) -> None:
    """The reply is a problem of this kind, complete and in both dialects."""
    assert (reply.status, reply.body.get("code")) == (status, code), reply.text
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.body["status"] == reply.body["statusCode"] == status
    assert reply.body["message"] == reply.body["detail"]
    assert datetime.fromisoformat(reply.body["timestamp"])
    assert {"type", "title", "instance", "path"} <= set(reply.body)
    assert bool(KEEPS_TOKENS.search(reply.body["message"])) == (status in {408, 429} or status >= 500)
    seconds = reply.headers.get("Retry-After")
    assert reply.body.get("retryAfterSec") == (int(seconds) if seconds else None)
