"""What a worker keeps of its clients: so much and no more, whatever they choose to send."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import uuid
from collections import deque
from collections.abc import AsyncIterator
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.http import counters
from gateway.http.app import create_app
from gateway.http.protocol import Room, Runner
from gateway.http.services import SERVICES, Services
from gateway.settings.serving import Settings
from gateway.settings.variables import read_all
from gateway.tokens import access_tokens
from gateway.tokens.keys import KeyDirectory
from harness.clients import Service
from harness.databases import Database
from harness.gateways import PEPPER
from harness.waiting import together

CLIENTS = 50
MANY = 40  # entries: fewer than the clients, more than a request has
KEPT = 10  # entries of what has a bound


@contextlib.asynccontextmanager
async def worker(database: Database, data_dir: Path) -> AsyncIterator[tuple[Service, Services]]:
    """A worker within this process, without Redis."""
    KeyDirectory(data_dir / "keys").generate()
    environment = {
        "DATABASE_URL": database.gateway_url, "PASSWORD_PEPPER": PEPPER, "DATA_DIR": str(data_dir),
        "RATE_LIMIT_MAX": "1000000", "RATE_LIMIT_AUTH_MAX": "1000000", "TRUSTED_PROXIES": "1",
    }  # fmt: skip
    app = create_app(read_all(Settings, environment))
    runner = Runner(app, Room(1024, 1024, 500), 1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Service(f"http://127.0.0.1:{runner.addresses[0][1]}") as service:
            yield service, app[SERVICES]
    finally:
        await runner.cleanup()


async def another_client(service: Service, services: Services, email: str) -> list[int]:
    """The statuses of requests in which all that a client may choose is new."""
    new = secrets.token_hex(8)
    token = services.tokens.sign({"sub": str(uuid.uuid4()), "sessionId": str(uuid.uuid4()), "role": "authenticated"})
    headers = {
        "X-Forwarded-For": f"2001:db8:{new[:4]}:{new[4:8]}::1", "Authorization": f"Bearer {token}",
        "User-Agent": new, "Origin": f"https://{new}.example", "X-Request-Id": new, f"X-{new}": new,
    }  # fmt: skip
    replies = [
        await service.post("/api/v1/auth/login", {"email": f"{new}@example.com", "password": new}, headers=headers),
        await service.login(email, deviceId=new),
        await service.post("/api/v1/auth/refresh", {"refreshToken": f"{uuid.uuid4().hex}.{new}"}, headers=headers),
        await service.get("/api/v1/credits/balance", headers=headers),
        await service.get(f"/{new}?{new}={new}", headers=headers),
    ]
    return [reply.status for reply in replies]


def sizes() -> dict[int, tuple[int, Any]]:
    """How many entries each collection of this process has, and each cache that has no end."""
    gc.collect()
    found: dict[int, tuple[int, Any]] = {}
    for each in gc.get_objects():
        if isinstance(each, _lru_cache_wrapper):
            if each.cache_info().maxsize is None:
                found[id(each)] = each.cache_info().currsize, each
        elif isinstance(each, dict | set | list | deque) and not _is_pythons(each):
            found[id(each)] = len(each), each
    return found


def _is_pythons(collection: Any) -> bool:
    """Whether it is a module, a class, or the timers of an event loop, which drops those that were cancelled."""
    return (isinstance(collection, dict) and "__doc__" in collection) or any(
        isinstance(each, asyncio.Handle) for each in collection
    )


async def test_nothing_grows_with_the_number_of_clients(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, bound in ((counters, "COUNTED"), (counters, "REMEMBERED"), (access_tokens, "REMEMBERED")):
        monkeypatch.setattr(module, bound, KEPT)
    async with worker(database, tmp_path) as (service, services):
        email = (await service.register()).body["email"]

        async def clients(number: int) -> None:
            for _ in range(number // 10):
                statuses = await together(*(another_client(service, services, email) for _ in range(10)))
                assert statuses == [[401, 200, 401, 401, 404]] * 10

        await clients(10)  # libraries load what they need
        before = {key: size for key, (size, _) in sizes().items()}
        await clients(CLIENTS)
        grown = [
            each for key, (size, each) in sizes().items() if size - before.get(key, 0) > MANY and each is not before
        ]
        assert [str(each)[:500] for each in grown] == []
