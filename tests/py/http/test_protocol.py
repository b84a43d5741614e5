"""Connections of clients: how long one may take to ask, and that those who ask nothing keep nobody out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from gateway.http.protocol import HEAD_ARRIVES_WITHIN, MAX_HEAD, MAX_UNSENT, READS, Protocol, Server
from harness.clients import Service, Session
from harness.databases import Database
from harness.gateways import Gateway
from harness.metrics import sample
from harness.waiting import until

WHOLE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
PART = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: "
LIVE = "/health/live"


async def connect(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(gateway.url)
    return await asyncio.open_connection(parts.hostname, parts.port)


@contextlib.asynccontextmanager
async def connections(gateway: Gateway, count: int, sent: bytes = b"") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open connections that say this and no more. Those that the gateway resets are part of it."""
    opened = [await connect(gateway) for _ in range(count)]
    for _, writer in opened:
        writer.write(sent)
    yield [reader for reader, _ in opened]
    for _, writer in opened:
        writer.close()


async def seconds_until_closed(gateway: Gateway, first: bytes, trickle: bytes) -> float:
    """How long a connection lasts that starts with this, and goes on with one byte now and then."""
    reader, writer = await connect(gateway)
    writer.write(first)
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - started < 3 * HEAD_ARRIVES_WITHIN:
            writer.write(trickle)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    while await reader.read(2**16):
                        pass
                    break
    writer.close()
    return time.monotonic() - started


async def test_a_head_that_does_not_arrive_closes_the_connection(gateway: Gateway, service: Service) -> None:
    lasted = await asyncio.gather(
        seconds_until_closed(gateway, b"", b""),
        seconds_until_closed(gateway, PART, b""),
        seconds_until_closed(gateway, PART, b"x"),
        seconds_until_closed(gateway, WHOLE + PART, b"x"),
    )
    assert all(HEAD_ARRIVES_WITHIN - 1 < seconds < HEAD_ARRIVES_WITHIN + 5 for seconds in lasted), lasted
    assert sample((await service.get("/metrics")).text, "mana_http_connections_dropped_total", reason="late") >= 4


@pytest.mark.soak  # it waits for the clock
async def test_a_connection_rests_for_longer_between_two_requests(gateway: Gateway) -> None:
    reader, writer = await connect(gateway)
    for pause in (HEAD_ARRIVES_WITHIN + 2, 0):
        writer.write(WHOLE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        await reader.readexactly(len(b'{"status":"ok"}'))
        await asyncio.sleep(pause)
    writer.close()


async def test_a_head_without_end_closes_the_connection(gateway: Gateway, service: Service) -> None:
    reader, writer = await connect(gateway)
    writer.write(WHOLE[:-2])
    with contextlib.suppress(ConnectionError):
        for number in range(120):
            writer.write(f"X-{number}: {'x' * 1000}\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await reader.read()
    writer.close()
    assert MAX_HEAD < 120 * 1000
    assert sample((await service.get("/metrics")).text, "mana_http_connections_dropped_total", reason="too_large") >= 1


async def test_a_body_larger_than_a_head_may_be_is_no_head(service: Service) -> None:
    reply = await service.request("POST", "/api/v1/auth/login", data=b" " * (MAX_HEAD + 1000))
    assert reply.status == 413


async def test_the_gauge_counts_open_connections(database: Database) -> None:
    with Gateway(database.gateway_url) as gateway:
        async with Service(gateway.url) as service:

            async def count() -> float:
                return sample((await service.get("/metrics")).text, "mana_http_connections")

            async def is_one_of(expected: int) -> bool:
                return await count() == expected

            assert await count() == 1
            async with connections(gateway, 20):
                await until(lambda: is_one_of(21))
            await until(lambda: is_one_of(1))


@pytest.mark.parametrize(
    ("files", "sent"),
    [
        ((1024, 4096), b""),
        ((256, 256), WHOLE),
        *(
            pytest.param(*both, marks=pytest.mark.soak)
            for both in (
                ((1024, 4096), PART), ((1024, 4096), WHOLE), ((1024, 1024), b""), ((1024, 1024), PART),
                ((1024, 1024), WHOLE), ((256, 256), b""), ((256, 256), PART),
            )
        ),
    ],
)  # fmt: skip
async def test_idle_connections_shut_nobody_out(database: Database, files: tuple[int, int], sent: bytes) -> None:
    with Gateway(database.gateway_url, files=files) as gateway:
        async with connections(gateway, 1300, sent):
            for _ in range(10):
                async with Service(gateway.url) as service:  # a new connection each time
                    started = time.monotonic()
                    assert (await service.get(LIVE)).status == 200
                    assert time.monotonic() - started < 2
        async with Service(gateway.url) as service:
            await service.new_session()
            text = (await service.get("/metrics")).text
        assert (sample(text, "mana_http_connections_dropped_total", reason="crowded") > 0) == (files[1] < 1300)
        assert "accept" not in "".join(gateway.output)


def test_the_limit_of_files_is_raised_and_the_log_says_so(database: Database) -> None:
    with Gateway(database.gateway_url, {"LOG_LEVEL": "info"}, files=(256, 1024)) as gateway:
        assert gateway.process
        limits = open(f"/proc/{gateway.process.pid}/limits").read()  # noqa: PTH123, SIM115
    assert re.search(r"Max open files\s+1024\s+1024", limits)
    [line] = [json.loads(line) for line in gateway.output if '"file_limit"' in line]
    assert (line["before"], line["files"], line["connections"]) == (256, 1024, 768)


def a_page_of_each(session: Session, times: int) -> bytes:
    """So many requests for a page of 100 transactions."""
    request = (
        "GET /api/v1/credits/transactions?limit=100 HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {session.access_token}\r\n\r\n"
    )
    return request.encode() * times


async def test_responses_that_are_not_read_close_the_connection(
    database: Database, gateway: Gateway, service: Service
) -> None:
    user = await service.new_session()
    database.give_credits(user.user_id, paid=100)
    with database.connect() as connection, connection.transaction():
        connection.execute("select auth.act_as(%s)", (user.user_id,))
        metadata = json.dumps({"a": "x" * 4000})
        for _ in range(100):
            connection.execute("select credits.use_credits(1, 'tests', 'much', null, %s)", (metadata,))
    requests = a_page_of_each(user, 30)

    async def dropped() -> float:
        return sample((await service.get("/metrics")).text, "mana_http_connections_dropped_total", reason="unread")

    async def reads_slowly() -> int:
        reader, writer = await connect(gateway)
        writer.write(requests)
        count = 0
        for _ in range(int(READS[1]) + 5):
            count += len(await reader.read(2 * READS[0]))
            await asyncio.sleep(1)
        writer.close()
        return count

    before = await dropped()
    slow = asyncio.create_task(reads_slowly())
    await asyncio.sleep(1)
    async with connections(gateway, 20, requests):
        await asyncio.sleep(READS[1] / 2)
        assert await dropped() == before
        started = time.monotonic()
        assert (await user.balance())["totalSpent"] == 100
        assert time.monotonic() - started < 1
        await until(lambda: _is_true(dropped, before + 20))
    assert await slow > READS[0] * 10
    assert await dropped() == before + 20, "a connection that reads slowly stays"


async def _is_true(measure: Callable[[], Awaitable[float]], expected: float) -> bool:
    return await measure() >= expected


def test_too_many_bytes_that_wait_close_the_connection_that_waits_longest() -> None:
    class Waiting(Protocol):
        def __init__(self) -> None:
            self.unsent = 0

        def make_room(self, reason: str = "crowded") -> None:
            closed.append((self, reason))
            server.count_unsent(self, 0)

    closed: list[tuple[Protocol, str]] = []
    server = object.__new__(Server)
    server.unsent, server.unsent_bytes = {}, 0
    first, second, third = Waiting(), Waiting(), Waiting()
    server.count_unsent(first, MAX_UNSENT // 2)
    server.count_unsent(second, MAX_UNSENT // 2)
    assert not closed
    server.count_unsent(third, MAX_UNSENT // 2)
    assert closed == [(first, "unread")]
    server.count_unsent(second, 0)
    server.count_unsent(first, MAX_UNSENT // 2)
    assert len(closed) == 1
    assert server.unsent_bytes == MAX_UNSENT // 2 * 2
