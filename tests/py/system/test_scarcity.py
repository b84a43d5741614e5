"""What runs short: connections, a lock, the disk of the WAL, Redis, and a clock that can be relied upon.

Each time the service says what the design says, and is itself again as soon as it may be. A Redis that
is dead or silent is in test_limits.py, a database that is away in test_serving.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from gateway.database.lanes import QUEUED_FOR
from gateway.operate import migrate
from gateway.operate.local_postgres import LocalPostgres
from harness.clients import Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.doors import backend_login, held_balance
from harness.gateways import Gateway
from harness.places import public_directory
from harness.servers import Redis
from harness.waiting import together, until
from proof.proxy import Proxy

BALANCE = "/api/v1/credits/balance"
LOCK_TIMEOUT = 0.5  # seconds, of mana_gateway
SLACK = 4.0  # seconds that a machine with much else to do may add


@pytest.fixture(scope="module")
def backend_url(database: Database) -> Iterator[str]:
    with backend_login(database) as url:
        yield url


def assert_not_now(reply: Reply) -> None:
    assert_problem(reply, 503, "service_unavailable")
    assert int(reply.headers["Retry-After"]) >= 1


async def timed(call: Any) -> tuple[Reply, float]:
    began = time.monotonic()
    return await call, time.monotonic() - began


# ---------------------------------------------------------------- connections and locks


@pytest.mark.parametrize("number", [*(pytest.param(n, marks=pytest.mark.soak) for n in (1, 3, 30)), 8, 100])
async def test_others_do_not_notice_how_many_balances_are_locked(
    database: Database, service: Service, backend_url: str, number: int
) -> None:
    """A backend holds them, and their users ask again and again."""
    locked = [await service.new_session() for _ in range(number)]
    other, another = await service.new_session(), await service.new_session()
    database.give_credits(other.user_id, paid=10_000)
    stop = asyncio.Event()

    async def ask(user: Session) -> list[tuple[Reply, float]]:
        replies = []
        while not stop.is_set():
            replies.append(await timed(user.use(idempotencyKey="waits")))
        return replies

    with psycopg.connect(backend_url) as backend:
        for user in sorted(locked, key=lambda user: user.user_id):
            backend.execute("select auth.act_as(%s)", (user.user_id,))
            backend.execute("select credits.use_credits(1, 'shop', 'A book')")
        asking = [asyncio.create_task(ask(user)) for user in locked]
        await asyncio.sleep(0.5)
        seen: list[tuple[Reply, float]] = []
        for _ in range(25):
            seen += [
                await timed(other.use()),
                await timed(another.get(BALANCE)),
                await timed(other.get("/api/v1/credits/transactions?limit=1")),
                await timed(service.get("/health/ready")),
            ]
        stop.set()
        refused = [reply for replies in await together(*asking) for reply in replies]
        backend.rollback()
    assert {reply.status for reply, _ in seen} == {200}
    assert statistics.median(seconds for _, seconds in seen) < 0.1
    for reply, seconds in refused:
        assert_not_now(reply)
        assert seconds < 2 * QUEUED_FOR + LOCK_TIMEOUT + SLACK
    assert [(await user.use(idempotencyKey="waits")).status for user in locked] == [200] * number
    database.assert_ledger_is_sound()


async def test_a_balance_that_is_locked_for_long_is_not_now_for_its_user_alone(
    database: Database, service: Service
) -> None:
    locked, other = await service.new_session(), await service.new_session()
    with database.connect() as connection:
        assert connection.execute("show idle_in_transaction_session_timeout").fetchone() == ("1min",)
    with held_balance(database, locked.user_id) as holder:
        # A holder that forgets its transaction is ended by the server. Here after six seconds instead of a
        # minute: the gateway's patience is over three times by then.
        holder.execute("set idle_in_transaction_session_timeout = '6s'")
        began, refused = time.monotonic(), 0
        while True:
            spend = asyncio.create_task(timed(locked.use(idempotencyKey="locked")))
            while not spend.done():
                assert (await other.get(BALANCE)).status == 200
                assert (await other.use()).status in {200, 402}
                await asyncio.sleep(0.05)
            reply, seconds = await spend
            if reply.status == 200:
                break
            assert_not_now(reply)
            assert seconds < 2 * QUEUED_FOR + LOCK_TIMEOUT + SLACK
            assert time.monotonic() - began < 60, "the lock was never released"
            refused += 1
        assert refused >= 2
        with pytest.raises(psycopg.Error):
            holder.execute("select")
    assert "Idempotency-Replayed" not in reply.headers
    assert (await locked.balance())["freeCreditsRemaining"] == 149
    database.assert_ledger_is_sound()


# ---------------------------------------------------------------- the disk of the WAL


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[None]:
    """A tmpfs in place of a directory, with its files and its owner."""
    as_root = [] if os.getuid() == 0 else ["sudo", "-n"]
    owner = directory.stat()
    before = directory.with_name("before")
    shutil.copytree(directory, before)
    options = f"size={megabytes}m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = subprocess.run(
        [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", directory],
        check=False,
        capture_output=True,
        text=True,
    )
    assert mounted.returncode == 0, f"this test mounts a small tmpfs, which takes root or sudo: {mounted.stderr}"
    try:
        shutil.copytree(before, directory, dirs_exist_ok=True)
        for path in directory.rglob("*"):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        yield
    finally:
        subprocess.run([*as_root, "umount", "--lazy", directory], check=True)


@contextmanager
def server_with_a_small_wal() -> Iterator[tuple[LocalPostgres, Path]]:
    """A server whose commits are in its WAL, and the directory of that WAL, which holds a few segments."""
    settings = {"synchronous_commit": "on", "full_page_writes": "on", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    server = LocalPostgres(public_directory(), durable=False, settings=settings)
    try:
        server.start(lambda _: None)
        migrate.apply(server.url, lambda _: None)
        server.stop()
        wal = (server.directory / "cluster").resolve() / "data" / "pg_wal"
        with small_disk(wal, 80):
            server.start(lambda _: None)
            yield server, wal
            server.stop()
    finally:
        server.remove()


async def test_a_full_disk_of_the_wal_is_not_now_and_loses_nothing_acknowledged() -> None:
    with server_with_a_small_wal() as (server, wal), Gateway(server.gateway_url()) as gateway:
        async with Service(gateway.url) as service:
            user = await service.new_session()
            database = Database(server.url, server.gateway_url())
            ballast = wal / "ballast"
            with ballast.open("wb") as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()

            acknowledged, refused = [], []
            with psycopg.connect(server.url, autocommit=True) as filler:
                for number in range(1, 500):
                    reply = await user.use(1, idempotencyKey=f"{number}")
                    if reply.status != 200:
                        assert_not_now(reply)
                        refused.append(number)
                        break
                    acknowledged.append(number)
                    try:
                        await asyncio.to_thread(
                            filler.execute, "select pg_logical_emit_message(false, '', repeat('x', 4000000))"
                        )
                    except psycopg.Error:
                        continue
            assert refused, "the disk did not fill up"
            assert acknowledged
            assert "PANIC" in (server.directory / "server.log").read_text()
            assert (await service.get("/health/live")).status == 200
            assert_not_now(await user.get(BALANCE))

            # Somebody makes room. A server that gave up is started again, as a service manager would.
            ballast.unlink()
            port = urlsplit(server.url).port
            server.stop()
            server.start(lambda _: None)
            assert urlsplit(server.url).port == port

            async def back() -> bool:
                return (await user.get(BALANCE)).status == 200

            await until(back)
            booked = {int(key) for (key,) in database.query(BOOKED)}
            assert set(acknowledged) <= booked <= {*acknowledged, *refused}
            for number in [*acknowledged, *refused]:
                assert (await user.use(1, idempotencyKey=f"{number}")).status == 200
            database.assert_ledger_is_sound()
            spent = len(acknowledged) + len(refused)
            assert (await user.balance())["totalSpent"] == spent


BOOKED = "select idempotency_key from credits.transactions where type = 'usage'"


# ---------------------------------------------------------------- Redis


@asynccontextmanager
async def limited_to(general: int, database: Database, redis: Redis) -> AsyncIterator[tuple[Proxy, Service]]:
    """A gateway that counts in Redis, by way of a proxy."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(redis.port))
        limits = {"RATE_LIMIT_MAX": str(general), "RATE_LIMIT_AUTH_MAX": "1000", "RATE_LIMIT_TTL": "3600"}
        gateway = Gateway(database.gateway_url, {**redis.environment, "REDIS_PORT": str(proxy.port), **limits})
        stack.push_async_callback(asyncio.to_thread, gateway.__exit__)
        await asyncio.to_thread(gateway.start)
        yield proxy, await stack.enter_async_context(Service(gateway.url))


async def test_with_redis_too_slow_requests_are_answered_without_it(database: Database, redis: Redis) -> None:
    async with limited_to(20, database, redis) as (proxy, service):
        user = await service.new_session()
        proxy.latency = 10
        async with asyncio.timeout(5 + SLACK):  # less than one of them would wait for Redis
            for _ in range(40):
                assert (await user.get(BALANCE)).status == 200
        proxy.latency = 0
        proxy.reset()

        async def limited() -> bool:
            return (await user.get(BALANCE)).status == 429

        await until(limited)


async def test_with_redis_flushed_limits_begin_anew_and_nothing_else(database: Database, redis: Redis) -> None:
    async with limited_to(6, database, redis) as (_, service):
        user = await service.new_session()
        assert [(await user.use()).status for _ in range(6)] == [200, 200, 200, 200, 429, 429]
        program = ["redis-cli", "-p", str(redis.port), "--no-auth-warning", "-a", redis.password]
        assert subprocess.run([*program, "flushall"], check=True, capture_output=True).stdout == b"OK\n"
        assert [(await user.use()).status for _ in range(8)] == [200] * 6 + [429] * 2
        assert subprocess.run([*program, "flushall"], check=True, capture_output=True).stdout == b"OK\n"
        assert (await user.balance())["freeCreditsRemaining"] == 140


# ---------------------------------------------------------------- the clock

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SESSION = 7 * DAY
MOMENTS = {
    "an ordinary noon": datetime(2027, 6, 15, 12, tzinfo=UTC),
    "before midnight": datetime(2027, 6, 15, 23, 59, 30, tzinfo=UTC),
    "before a leap day": datetime(2028, 2, 28, 23, 59, 30, tzinfo=UTC),
    "a leap day": datetime(2028, 2, 29, 12, tzinfo=UTC),
    "before the new year": datetime(2027, 12, 31, 23, 59, 30, tzinfo=UTC),
    "before summer time": datetime(2027, 3, 28, 0, 59, 30, tzinfo=UTC),
}
JUMPS = [SECOND, MINUTE, HOUR, DAY - HOUR, DAY, 2 * DAY, 366 * DAY, -SECOND, -HOUR, -DAY, -400 * DAY]


@pytest.fixture
def clock(database: Database) -> Iterator[None]:
    """A server that lives by a summer time, and whose clock is put right afterwards."""
    database.query(f"alter database {database.name} set timezone = 'Europe/Berlin'")
    yield
    database.move_clock(timedelta())


@pytest.fixture(scope="module")
def moved_gateway(database: Database) -> Iterator[Gateway]:
    """Of its own, so that its connections know the time zone."""
    database.query(f"alter database {database.name} set timezone = 'Europe/Berlin'")
    with Gateway(database.gateway_url) as running:
        yield running


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(name, marks=[] if moment.minute == 59 and moment.month != 12 else pytest.mark.soak)
        for name, moment in MOMENTS.items()
    ],
)
async def test_a_clock_that_jumps_changes_what_the_design_says(
    database: Database, moved_gateway: Gateway, clock: None, moment: str
) -> None:
    async with Service(moved_gateway.url) as service:
        for jump in JUMPS:
            await one_jump(database, service, MOMENTS[moment], jump)
    database.assert_ledger_is_sound()


async def one_jump(database: Database, service: Service, moment: datetime, jump: timedelta) -> None:
    def set_clock(to: datetime) -> None:
        database.move_clock(to - datetime.now(UTC))

    set_clock(moment)
    user = await service.new_session()
    first = await user.use(1, idempotencyKey="first")
    rotated = await service.refresh(user.refresh_token)
    assert (first.status, rotated.status) == (200, 200)

    # From here on, moment is the account's own, and the clock runs on from a jump behind it.
    [(created_at,)] = database.query("select created_at from credits.balances where user_id = %s", user.user_id)
    moment = created_at.astimezone(UTC)
    set_clock(moment + jump)
    alive = jump < SESSION
    in_grace = jump <= SECOND  # of ten seconds; no other jump is near them
    granted = 5 if jump >= DAY else 0
    if not alive:
        assert_problem(await user.get(BALANCE), 401, "session_ended")
        assert_problem(await service.refresh(rotated.body["refreshToken"]), 401, "invalid_refresh_token")
        user = await service.session(user.email)

    # The daily grant: by 24 hours since the account's creation, at most once, none taken back.
    balance = await user.balance()
    assert balance["freeCreditsRemaining"] == 149 + granted, jump
    windows = max(jump // DAY, 0)
    announced = datetime.fromisoformat(balance["nextDailyCreditsAt"])
    assert abs(announced - moment - (windows + 1) * DAY) < MINUTE, jump

    # Money: a retry is a retry, and the newest is first, whatever the clock says.
    again = await user.use(1, idempotencyKey="first")
    assert (again.body, again.headers.get("Idempotency-Replayed")) == (first.body, "true")
    assert (await user.use(2, idempotencyKey="second")).status == 200
    listed = (await user.get("/api/v1/credits/transactions")).body
    assert [entry["amount"] for entry in listed] == [-2, *([5] if granted else []), -1, 150]
    assert sorted(listed, key=lambda entry: entry["createdAt"], reverse=True) == listed

    # A refresh token that was used: the same successor within the grace, the end of the session after it.
    if alive:
        retry = await service.refresh(user.refresh_token)
        if in_grace:
            assert (retry.status, retry.body["refreshToken"]) == (200, rotated.body["refreshToken"])
        else:
            assert_problem(retry, 401, "invalid_refresh_token")
            assert_problem(await user.get(BALANCE), 401, "session_ended")

    # Back again, and all is well; nothing is granted twice.
    set_clock(moment + 2 * MINUTE)
    user = await service.session(user.email)
    assert (await user.balance())["freeCreditsRemaining"] == 147 + granted
    assert (await user.use(3)).status == 200


@pytest.mark.parametrize(
    "jump", [*(pytest.param(jump, marks=pytest.mark.soak) for jump in ("+1s", "+1h", "+1d", "-1h")), "-1d"]
)
async def test_a_gateways_own_clock_that_jumps_decides_over_access_tokens_alone(
    database: Database, tmp_path: Path, jump: str
) -> None:
    """The gateway judges the times of tokens by its clock; what is in the database goes by the database's."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": _faketime(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "RATE_LIMIT_MAX": "1000",
    }  # fmt: skip
    with Gateway(database.gateway_url, faked) as gateway:
        async with Service(gateway.url) as service:
            session = await service.new_session()
            before = await session.balance()
            clock.write_text(jump)
            answer = await session.get(BALANCE)
            if jump in {"+1h", "+1d"}:
                assert_problem(answer, 401, "token_expired")
            else:
                assert answer.status == 200, "a token that was verified stays so until it expires"
            # A refresh token is good by the database's clock, and the new access token by the gateway's.
            reply = await service.refresh(session.refresh_token)
            assert reply.status == 200, reply.text
            session.access_token = reply.body["accessToken"]
            assert await session.balance() == before, "no grant was due, and none was paid"
            spent = await session.use(1, idempotencyKey="once")
            clock.write_text("+0")
            again = await (await service.session(session.email)).use(1, idempotencyKey="once")
            assert (spent.status, again.status, again.body) == (200, 200, spent.body)


def _faketime() -> str:
    """Debian's libfaketime, below the directory of the machine's kind."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    assert found, "libfaketime is not installed: tests/tools.sh"
    return str(found)
