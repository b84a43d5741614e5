"""Cuts: connections between all parts break under the bank's load.

    client - gateway - PgBouncer - PostgreSQL, or without PgBouncer; Redis beside the gateway
                         backend - PostgreSQL

A proxy stands in for each line, and the administrator goes past them. ``Cuts`` is what a ``Bank`` takes
as its faults: what comes of them is judged by the model. In the end no part holds on to a connection or
a call.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.http.services import GAUGED_EVERY
from harness.clients import Service
from harness.databases import Cluster, Database
from harness.doors import backend_login
from harness.gateways import Gateway, rests
from harness.servers import PgBouncer, Redis
from harness.waiting import until
from proof.bank import Bank, Report, Targets
from proof.proxy import Fault, Kind, Proxy, Way
from proof.runs import QUIET, UNLIMITED, play

CLIENTS = 32
# What an answer contains that tells of a spend; a backend's COMMIT is an answer of its own.
TELLS_OF_A_SPEND = {
    "client-gateway": b"newBalance", "gateway-PgBouncer": b"newBalance", "gateway-PostgreSQL": b"newBalance",
    "PgBouncer-PostgreSQL": b"newBalance", "backend-PostgreSQL": b"COMMIT",
}  # fmt: skip
BUSY = """
select count(*) from pg_stat_activity
 where datname = current_database() and usename <> current_user and state <> 'idle'
"""


@dataclass
class World:
    """All parts, and the proxies between them."""

    database: Database
    gateway: Gateway
    targets: Targets
    proxies: dict[str, Proxy]


@asynccontextmanager
async def world(cluster: Cluster, *, pooled: bool) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        database = stack.enter_context(cluster.database())
        backend = stack.enter_context(backend_login(database))
        redis = stack.enter_context(Redis())
        proxies: dict[str, Proxy] = {}

        async def between(name: str, port: int, *, postgres: bool = False) -> Proxy:
            proxies[name] = await stack.enter_async_context(Proxy(port, postgres=postgres))
            return proxies[name]

        server = urlsplit(cluster.admin_url).port or 5432
        before_backend = await between("backend-PostgreSQL", server, postgres=True)
        if pooled:
            behind_pooler = await between("PgBouncer-PostgreSQL", server, postgres=True)
            pooler = stack.enter_context(PgBouncer(cluster, connections=6, port=behind_pooler.port))
            before_database = await between("gateway-PgBouncer", pooler.port, postgres=True)
        else:
            before_database = await between("gateway-PostgreSQL", server, postgres=True)
        before_redis = await between("gateway-Redis", redis.port)
        environment = {**QUIET, **redis.environment, **UNLIMITED, "REDIS_PORT": str(before_redis.port)}
        gateway = Gateway(before_database.url(database.gateway_url), environment)
        stack.push_async_callback(asyncio.to_thread, gateway.__exit__)
        await asyncio.to_thread(gateway.start)  # by way of the proxies, which live in this process
        before_gateway = await between("client-gateway", urlsplit(gateway.url).port or 0)
        targets = Targets(before_gateway.url(gateway.url), before_backend.url(backend), database.admin_url)
        yield World(database, gateway, targets, proxies)


class Cuts:
    """Breaks ``cuts`` connections. What only comes late is no cut."""

    def __init__(self, proxies: dict[str, Proxy], *, seed: int, cuts: int) -> None:
        self.kinds: Counter[Kind] = Counter()
        self._proxies = proxies
        self._seed = seed
        self._cuts = cuts

    @property
    def done(self) -> int:
        return self.kinds.total() - self.kinds[Kind.DELAY]

    @property
    def committed(self) -> int:
        """How many of them were between COMMIT and the answer."""
        return sum(proxy.committed for proxy in self._proxies.values())

    async def __call__(self, bank: Bank) -> None:
        # A gateway leaves a Redis that has failed alone for a second; the others need not wait for that.
        names = sorted(self._proxies)
        redis = [name for name in names if name.endswith("Redis")]
        others = [name for name in names if name not in redis]
        await asyncio.gather(self._break(redis, bank), self._break(others, bank))

    async def _break(self, names: list[str], bank: Bank) -> None:
        chance = random.Random(f"{self._seed} {names}")
        while self.done < self._cuts:
            name = chance.choice(names)
            kind = chance.choices(list(Kind), [50, 20, 15, 5, 10])[0]
            way = chance.choices(list(Way), [30, 70])[0]
            part = chance.choice([0.0, chance.random(), 0.999])
            fault = Fault(kind, way, part, chance.uniform(0.01, 0.3))
            if way is Way.ANSWER and chance.random() < 0.5:
                fault.containing = TELLS_OF_A_SPEND.get(name, b"")
            self._proxies[name].order(fault)
            try:
                async with asyncio.timeout(1):
                    await fault.struck.wait()
            except TimeoutError:
                self._proxies[name].withdraw()
            else:
                self.kinds[kind] += 1
                bank.history.write({"struck": name, "kind": kind, "way": way, "part": part, "at": time.time()})
            await asyncio.sleep(chance.uniform(0, 0.02))

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return f"{self.done} cuts ({kinds}), {self.committed} of them between COMMIT and the answer"


async def run(cluster: Cluster, seed: int, cuts: int) -> tuple[Cuts, Report]:
    """One load on a database of its own: of the even seeds with PgBouncer, of the odd ones without.

    Raises Violation, also when a call or a connection is not given back.
    """
    async with world(cluster, pooled=seed % 2 == 0) as parts, Service(parts.gateway.url) as probe:
        await until(lambda: rests(probe))
        sockets = parts.gateway.sockets()

        async def all_was_given_back() -> None:
            await asyncio.sleep(GAUGED_EVERY)  # what the metrics said before that is no proof
            await until(lambda: rests(probe))
            # It may keep a connection to Redis for each request that it served at a time.
            await until(lambda: parts.gateway.sockets() <= sockets + CLIENTS // 2)
            await until(lambda: parts.database.query(BUSY) == [(0,)])

        faults = Cuts(parts.proxies, seed=seed, cuts=cuts)
        report = await play(parts.targets, "cuts", seed, faults=faults, clients=CLIENTS, afterwards=all_was_given_back)
    return faults, report
