"""Crashes: parts of the service are killed under the bank's load and started again.

``Crashes`` is what a ``Bank`` takes as its faults. After each kill it measures how long the service takes
to be back: from the kill, or from when the part itself is, if an operator's supervisor has to bring it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import aiohttp
import psycopg

from gateway.operate.local_postgres import LocalPostgres
from gateway.problems import OperatorError
from harness.databases import killable_cluster
from harness.doors import backend_login
from harness.gateways import Gateway, workers_of
from harness.servers import PgBouncer, Redis
from proof.bank import Bank, Targets, Violation
from proof.runs import QUIET, UNLIMITED

PAUSE = (1.0, 10.0)  # seconds between a recovery and the next kill
DOWN = (0.0, 1.0)  # seconds that a supervisor takes to start a part again
FRESH = 8  # new connections that must be served for the service to be back: enough to meet every worker


@dataclass(frozen=True)
class Part:
    """Something that dies: ``kill`` ends it, ``start`` brings it back and waits until it answers.

    What heals by itself has no ``start``.
    """

    name: str
    kill: Callable[[], None]
    start: Callable[[], None] | None = None


class Crashes:
    """Kills ``kills`` parts, each of them once before any dies again. ``within`` is the seconds of a recovery."""

    def __init__(
        self, parts: list[Part], *, seed: int, kills: int, within: float, pause: tuple[float, float] = PAUSE
    ) -> None:
        self.recoveries: defaultdict[str, list[float]] = defaultdict(list)
        self._parts = parts
        self._kills = kills
        self._within = within
        self._pause = pause
        self._chance = random.Random(f"{seed} crashes")

    async def __call__(self, bank: Bank) -> None:
        order: list[Part] = []
        for _ in range(self._kills):
            order = order or self._chance.sample(self._parts, len(self._parts))
            part = order.pop()
            await asyncio.sleep(self._chance.uniform(*self._pause))
            bank.history.write({"killed": part.name, "at": time.time()})
            since = await self._kill(part)
            await self._recovered(bank, part, since)
            seconds = time.monotonic() - since
            self.recoveries[part.name].append(seconds)
            bank.history.write({"recovered": part.name, "seconds": seconds})

    async def _kill(self, part: Part) -> float:
        """Returns since when the service has all that it needs to recover."""
        down = self._chance.uniform(*DOWN)

        def crash() -> float:
            part.kill()
            if part.start:
                time.sleep(down)
                part.start()
            return time.monotonic()

        crashing = asyncio.create_task(asyncio.to_thread(crash))
        try:
            return await asyncio.shield(crashing)
        finally:
            await crashing  # also when the load was given up: nothing stays dead

    async def _recovered(self, bank: Bank, part: Part, since: float) -> None:
        """Wait until new connections are served, and operations that began since."""
        served = 0
        try:
            async with asyncio.timeout(self._within):
                while served < FRESH or min(bank.served.values()) < since:
                    served = served + 1 if await _ready(bank.targets.http) else 0
                    await asyncio.sleep(0.01)
        except TimeoutError:
            missing = [way for way, last in bank.served.items() if last < since] or [f"{FRESH - served} connections"]
            text = f"the service did not recover from a kill of {part.name} in {self._within} s: {', '.join(missing)}"
            raise Violation(text) from None

    def __str__(self) -> str:
        return ", ".join(
            f"{name}: {len(seconds)} kills, back after {max(seconds):.2f} s at most"
            for name, seconds in sorted(self.recoveries.items())
        )


async def _ready(url: str) -> bool:
    """Whether a worker answers on a new connection and reaches its database."""
    try:
        async with (
            asyncio.timeout(2),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client,
            client.get(f"{url}/health/ready") as reply,
        ):
            return reply.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


@contextlib.contextmanager
def crash_house() -> Iterator[tuple[Targets, list[Part]]]:
    """All parts, each of which may die: a durable PostgreSQL, PgBouncer, Redis, a gateway with two workers."""
    with contextlib.ExitStack() as stack:
        server, cluster = stack.enter_context(killable_cluster())
        database = stack.enter_context(cluster.database())
        url = database.admin_url
        backend = stack.enter_context(backend_login(database))
        pooler = stack.enter_context(PgBouncer(cluster, connections=20))
        redis = stack.enter_context(Redis())
        environment = {**QUIET, **redis.environment, **UNLIMITED, "WORKERS": "2"}
        gateway = stack.enter_context(Gateway(pooler.url(database), environment))
        yield (
            Targets(gateway.url, backend, database.admin_url),
            [
                Part("PostgreSQL", lambda: _kill_postmaster(server), lambda: _start_postgres(server)),
                Part("a process of PostgreSQL", lambda: _kill_backend(url)),
                Part("a worker of the gateway", lambda: _kill_worker(gateway)),
                Part("PgBouncer", lambda: pooler.stop(signal.SIGKILL), pooler.start),
                Part("Redis", lambda: redis.stop(signal.SIGKILL), redis.start),
            ],
        )


def _kill_postmaster(server: LocalPostgres) -> None:
    [pid, *_] = (server.directory / "cluster").resolve().joinpath("data/postmaster.pid").read_text().split()
    os.kill(int(pid), signal.SIGKILL)
    server.stop()


def _start_postgres(server: LocalPostgres) -> None:
    """Until it works: those it left behind have to notice that it is gone."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return server.start(lambda _: None)
        except OperatorError:
            if time.monotonic() > deadline:
                raise


def _kill_backend(url: str) -> None:
    """Kill one that serves the gateway. The server then ends all others, recovers, and is back by itself."""
    serving = "select pid from pg_stat_activity where usename = 'mana_gateway' order by xact_start limit 1"
    deadline = time.monotonic() + 60
    with psycopg.connect(url, autocommit=True) as connection:
        while not (found := connection.execute(serving).fetchone()):
            # After another kill it takes a moment until the gateway is connected again.
            if time.monotonic() > deadline:
                raise Violation("the gateway has no connection to PostgreSQL")
            time.sleep(0.05)
        os.kill(found[0], signal.SIGKILL)
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                connection.execute("select")


def _kill_worker(gateway: Gateway) -> None:
    os.kill(workers_of(gateway)[0], signal.SIGKILL)
