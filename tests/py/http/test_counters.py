"""Counters of requests: Redis and memory count alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from limits import RateLimitItemPerSecond
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool

from gateway.http import counters
from gateway.http.counters import Allowance, BoundedStorage, Counter, MemoryCounter, RedisCounter
from harness.servers import Redis
from harness.waiting import together

LONG = 3600  # seconds


@pytest.fixture(params=["memory", "redis"])
async def counter(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[Counter]:
    if request.param == "memory":
        yield MemoryCounter()
        return
    connections = ConnectionPool(host="127.0.0.1", port=redis.port, password=redis.environment["REDIS_PASSWORD"])
    counter = RedisCounter(connections)
    yield counter
    await counter.close()


async def allowed(counter: Counter, times: int, *counted: tuple[Allowance, str], scope: str) -> list[bool]:
    return [(await counter.count(scope, counted)).allowed for _ in range(times)]


async def test_the_amount_is_allowed_and_no_more(counter: Counter, request: pytest.FixtureRequest) -> None:
    allowance = Allowance(3, LONG)
    verdicts = [await counter.count(request.node.name, [(allowance, "a")]) for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 3 + [False] * 2
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert all((verdict.limit, verdict.window) == (3, LONG) for verdict in verdicts)
    assert all(1 <= verdict.reset <= LONG for verdict in verdicts)
    assert (await counter.count(request.node.name, [(allowance, "b")])).allowed, "another name"
    assert (await counter.count(f"{request.node.name} 2", [(allowance, "a")])).allowed, "another scope"


async def test_the_first_that_refuses_is_shown_and_those_after_it_count_nothing(
    counter: Counter, request: pytest.FixtureRequest
) -> None:
    scope, near, wide = request.node.name, Allowance(2, LONG), Allowance(4, LONG)
    assert await allowed(counter, 9, (near, "a"), (wide, "net"), scope=scope) == [True] * 2 + [False] * 7
    assert await allowed(counter, 1, (near, "b"), (wide, "net"), scope=scope) == [True]
    shown = await counter.count(scope, [(near, "c"), (wide, "net")])
    assert (shown.allowed, shown.limit, shown.remaining) == (True, 2, 1)
    shown = await counter.count(scope, [(near, "d"), (wide, "net")])
    assert (shown.allowed, shown.limit, shown.remaining) == (False, 4, 0)


async def test_requests_at_once_are_all_counted(counter: Counter, request: pytest.FixtureRequest) -> None:
    found = await together(*(allowed(counter, 2, (Allowance(5, LONG), "a"), scope=request.node.name) for _ in range(9)))
    assert sum(map(sum, found)) == 5


async def test_the_window_slides(counter: Counter, request: pytest.FixtureRequest) -> None:
    scope, allowance = request.node.name, Allowance(20, 1)
    assert sum(await allowed(counter, 30, (allowance, "a"), scope=scope)) >= 20
    await asyncio.sleep(2.2)
    assert sum(await allowed(counter, 20, (allowance, "a"), scope=scope)) == 20, "all of them are over"


# ---------------------------------------------------------------- in memory


async def test_names_without_end_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = BoundedStorage(20)
    strategy = SlidingWindowCounterRateLimiter(storage)
    for number in range(200):
        assert await strategy.hit(RateLimitItemPerSecond(1, LONG), "all", f"{number}")
    kept = {name: len(value) for name, value in vars(storage).items() if isinstance(value, dict)}
    assert {name: size for name, size in kept.items() if size} == {"storage": 20, "expirations": 20}

    monkeypatch.setattr(counters, "REMEMBERED", 20)
    counter = MemoryCounter()
    for number in range(200):
        await counter.remember(f"{number}", LONG)
    assert [await counter.remembers(f"{number}") for number in (0, 179, 180, 199)] == [False, False, True, True]


async def test_what_began_first_is_forgotten_first_and_a_flood_elsewhere_drives_out_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counters, "COUNTED", 3)
    counter, once = MemoryCounter(), Allowance(1, LONG)

    async def is_allowed(name: str) -> bool:
        return (await counter.count("account", [(once, name)])).allowed

    assert [await is_allowed(name) for name in "abcabc"] == [True] * 3 + [False] * 3
    for number in range(50):
        await counter.count("all", [(once, f"{number}")])
    assert [await is_allowed(name) for name in "abc"] == [False] * 3
    assert [await is_allowed(name) for name in "dbcad"] == [True, False, False, True, False]


async def test_a_count_that_has_expired_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    for module in ("gateway.http.counters.time", "limits.aio.storage.memory.time"):
        monkeypatch.setattr(f"{module}.time", lambda: now)
    storage = BoundedStorage(2)
    assert [await storage.incr(name, 10) for name in ("a", "a", "b")] == [1, 2, 1]
    now += 10
    assert [await storage.incr(name, 10) for name in ("a", "b")] == [1, 1]
    assert dict(storage.storage) == {"a": 1, "b": 1}
