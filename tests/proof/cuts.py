"""Cuts: clients spend, refresh and register while connections between all parts break under them.

    client - gateway - PgBouncer - PostgreSQL
    client - gateway - PostgreSQL,   and Redis beside both gateways

A proxy stands in for each line. A client that got no answer tries again with the same key, at either
gateway, or gives up. In the end nothing acknowledged is lost, nothing was applied twice, what is
unknown happened as a whole or not at all, and no part holds on to a connection or a call.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from gateway.services import GAUGED_EVERY
from proof.proxy import Fault, Kind, Proxy, Way
from support import Cluster, Database, Gateway, PgBouncer, Redis, Reply, Service, Session, rests, until

CLIENTS = 16
PATIENCE = 20.0  # seconds for one attempt; nothing may take as long
GRACE = 10.0  # seconds in which a refresh token may be presented again
PLENTY = 10**8  # credits, so that a refusal is always a mistake
NO_ANSWER = (aiohttp.ClientError, ConnectionError)


@dataclass
class World:
    """All parts, and the proxies between them."""

    database: Database
    gateways: list[Gateway]
    services: list[Service]  # by way of a proxy
    proxies: dict[str, Proxy]


@asynccontextmanager
async def world(cluster: Cluster) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        database = stack.enter_context(cluster.database())
        redis = stack.enter_context(Redis())
        proxies: dict[str, Proxy] = {}

        async def between(name: str, port: int, *, postgres: bool = False) -> Proxy:
            proxies[name] = await stack.enter_async_context(Proxy(port, postgres=postgres))
            return proxies[name]

        server = urlsplit(cluster.admin_url).port or 5432
        behind_pooler = await between("PgBouncer-PostgreSQL", server, postgres=True)
        pooler = stack.enter_context(PgBouncer(cluster, connections=6, port=behind_pooler.port))
        before_pooler = await between("gateway-PgBouncer", pooler.port, postgres=True)
        direct = await between("gateway-PostgreSQL", server, postgres=True)
        before_redis = await between("gateway-Redis", redis.port)
        environment = {
            **redis.environment,
            "REDIS_PORT": str(before_redis.port),
            "RATE_LIMIT_MAX": str(10**9),
            "RATE_LIMIT_AUTH_MAX": str(10**8),
            "LOG_LEVEL": "warning",
        }
        gateways, services = [], []
        for number, url in enumerate((before_pooler.url(pooler.url(database)), direct.url(database.gateway_url))):
            gateway = Gateway(url, environment)
            environment["DATA_DIR"] = str(gateway.data_dir if not gateways else gateways[0].data_dir)  # the keys
            await asyncio.to_thread(gateway.start)
            stack.push_async_callback(asyncio.to_thread, gateway.__exit__)
            before_gateway = await between(f"client-gateway {number + 1}", urlsplit(gateway.url).port or 0)
            gateways.append(gateway)
            services.append(await stack.enter_async_context(Service(before_gateway.url(gateway.url))))
        yield World(database, gateways, services, proxies)


@dataclass
class Operation:
    """What a client wants done once, however often it has to ask."""

    kind: str
    name: str  # the idempotency key, or the e-mail address
    amount: int = 0
    attempts: int = 0
    unanswered: int = 0  # attempts whose outcome nobody knows
    answer: Any = None  # the acknowledgement


@dataclass
class Figures:
    """What was reached."""

    seconds: float = 0.0
    cuts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    committed: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    unavailable: int = 0
    given_up: int = 0
    given_up_done: int = 0

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        done = ", ".join(f"{count} {kind}" for kind, count in sorted(self.operations.items()))
        return (
            f"{self.cuts} cuts in {self.seconds:.0f} s ({faults}), of them {self.committed} between COMMIT and answer;"
            f" acknowledged: {done}; attempts without an answer: {self.unanswered}, answered 503: {self.unavailable};"
            f" operations given up: {self.given_up}, of which {self.given_up_done} had been done"
        )


class Cuts:
    """One run, and its history."""

    def __init__(self, parts: World, seed: int) -> None:
        self._world = parts
        self._seed = seed
        self._operations: dict[str, Operation] = {}
        self._history: list[tuple[float, str, int, object]] = []
        self._started = time.monotonic()
        self._stopped = asyncio.Event()
        self.figures = Figures()

    async def run(self, cuts: int) -> Figures:
        """Break connections until so many were; raises AssertionError with the seed."""
        try:
            await self._run(cuts)
        except BaseException as error:
            kept = Path(tempfile.gettempdir()) / f"mana-cuts-{self._seed}.jsonl"
            with kept.open("w") as file:
                file.writelines(json.dumps(entry, default=str) + "\n" for entry in self._history)
                file.writelines(line for gateway in self._world.gateways for line in gateway.output)
            error.add_note(f"seed {self._seed}; the history and the gateways' logs are in {kept}")
            raise
        return self.figures

    async def _run(self, cuts: int) -> None:
        parts = self._world
        await until(self._rests)
        sockets = [gateway.sockets() for gateway in parts.gateways]
        sessions = [await parts.services[0].new_session() for _ in range(CLIENTS)]
        for session in sessions:
            parts.database.give_credits(session.user_id, free=PLENTY)
        began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for number, session in enumerate(sessions):
                    group.create_task(self._client(session, random.Random(f"{self._seed} client {number}")))
                group.create_task(self._break(cuts))
        except* AssertionError as errors:
            raise errors.exceptions[0] from None
        self.figures.seconds = time.monotonic() - began
        self.figures.committed = sum(proxy.committed for proxy in parts.proxies.values())

        # Nothing of it is left in the gateways: neither calls nor connections, but those to Redis.
        await asyncio.sleep(GAUGED_EVERY)  # what the metrics said before that is no proof
        await until(self._rests)
        for service in parts.services:
            await service.client.connector.close()  # type: ignore[union-attr]
        for gateway, before in zip(parts.gateways, sockets, strict=True):
            await until(lambda gateway=gateway, before=before: gateway.sockets() <= before + CLIENTS)
        await until(lambda: parts.database.query(BUSY) == [(0,)])
        self._check(sessions)

    # ---------------------------------------------------------------- faults

    async def _break(self, cuts: int) -> None:
        names = sorted(self._world.proxies)
        # A gateway leaves a Redis that has failed alone for a second; the others need not wait for that.
        redis = [name for name in names if name.endswith("Redis")]
        await asyncio.gather(
            self._break_some(redis, cuts), self._break_some([name for name in names if name not in redis], cuts)
        )
        self._stopped.set()

    async def _break_some(self, names: list[str], cuts: int) -> None:
        chance = random.Random(f"{self._seed} {names}")
        while self.figures.cuts < cuts:
            proxy = self._world.proxies[chance.choice(names)]
            kind = chance.choices(list(Kind), [50, 20, 15, 5, 10])[0]
            way = chance.choices(list(Way), [30, 70])[0]
            part = chance.choice([0.0, chance.random(), 0.999])
            fault = proxy.order(Fault(kind, way, part, chance.uniform(0.01, 0.3)))
            try:
                async with asyncio.timeout(1):
                    await fault.struck.wait()
            except TimeoutError:
                proxy.withdraw()
            else:
                self.figures.cuts += kind is not Kind.DELAY
                self.figures.faults[kind] += 1
            await asyncio.sleep(chance.uniform(0, 0.02))

    # ---------------------------------------------------------------- clients

    async def _client(self, session: Session, chance: random.Random) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            match chance.choices(["spend", "read", "refresh", "register"], [80, 10, 6, 4])[0]:
                case "spend":
                    name = f"{session.user_id} {number}"
                    await self._spend(session, Operation("spend", name, chance.randint(1, 9)), chance)
                case "read":
                    await self._read(session, chance)
                case "refresh":
                    session = await self._refresh(session, chance)
                case "register":
                    await self._register(chance)

    async def _read(self, session: Session, chance: random.Random) -> None:
        read = Operation("read", session.user_id)
        await self._insist(read, chance, lambda at: replace(session, service=at).get(BALANCE), {200})

    async def _spend(self, session: Session, operation: Operation, chance: random.Random) -> None:
        def ask(at: Service) -> Awaitable[Reply]:
            return replace(session, service=at).use(operation.amount, idempotencyKey=operation.name)

        self._operations[operation.name] = operation
        first = await self._insist(operation, chance, ask, {200}, gives_up=chance.random() < 0.1)
        if first is None:
            return
        operation.answer = first.body
        replayed = first.headers.get("Idempotency-Replayed") == "true"
        assert operation.unanswered or not replayed, f"{operation} is new and was done before"
        if chance.random() < 0.2:
            again = await self._insist(operation, chance, ask, {200})
            assert again
            assert again.body == first.body, f"{operation} has two answers: {first.text} and {again.text}"
            assert again.headers.get("Idempotency-Replayed") == "true", f"{operation} was done twice"

    async def _refresh(self, session: Session, chance: random.Random) -> Session:
        operation = Operation("refresh", session.user_id)
        began = time.monotonic()
        reply = await self._insist(operation, chance, lambda at: at.refresh(session.refresh_token), {200, 401})
        assert reply
        if reply.status == 401:
            # All may have been done in time, and each answer lost, until the grace was over.
            assert time.monotonic() - began > GRACE, f"a retry within the grace was refused: {reply.text}"
            reply = await self._insist(operation, chance, lambda at: at.login(session.email), {200})
            assert reply
        return replace(session, access_token=reply.body["accessToken"], refresh_token=reply.body["refreshToken"])

    async def _register(self, chance: random.Random) -> None:
        email = f"{secrets.token_hex(8)}@example.com"
        operation = self._operations[email] = Operation("register", email)
        gives_up = chance.random() < 0.2
        reply = await self._insist(operation, chance, lambda at: at.register(email), {201, 409}, gives_up=gives_up)
        if reply is None:
            return
        assert reply.status == 201 or operation.unanswered, f"{email} is new and was taken"
        operation.answer = reply.body
        login = Operation("login", email)
        assert await self._insist(login, chance, lambda at: at.login(email), {200})

    async def _insist(
        self,
        operation: Operation,
        chance: random.Random,
        ask: Callable[[Service], Awaitable[Reply]],
        expected: set[int],
        *,
        gives_up: bool = False,
    ) -> Reply | None:
        """Ask one of the gateways until there is an answer; None when the client gave up before."""
        while True:
            operation.attempts += 1
            try:
                async with asyncio.timeout(PATIENCE):
                    reply = await ask(chance.choice(self._world.services))
            except NO_ANSWER as error:
                self._note(operation, type(error).__name__)
                operation.unanswered += 1
                self.figures.unanswered += 1
            else:
                self._note(operation, reply.status)
                if reply.status != 503:
                    assert reply.status in expected, f"{operation}: {reply.status} {reply.text}"
                    self.figures.operations[operation.kind] += 1
                    return reply
                assert int(reply.headers["Retry-After"]) >= 1
                operation.unanswered += 1  # it may have been done before the connection broke
                self.figures.unavailable += 1
            if gives_up:
                self.figures.given_up += 1
                return None
            await asyncio.sleep(chance.uniform(0, 0.1))

    def _note(self, operation: Operation, outcome: object) -> None:
        at = round(time.monotonic() - self._started, 4)
        self._history.append((at, f"{operation.kind} {operation.name}", operation.amount, outcome))

    # ---------------------------------------------------------------- what is left

    async def _rests(self) -> bool:
        for gateway in self._world.gateways:
            async with Service(gateway.url) as service:
                if not await rests(service):
                    return False
        return True

    def _check(self, sessions: list[Session]) -> None:
        database = self._world.database
        database.assert_ledger_is_sound()
        spends = {name: op for name, op in self._operations.items() if op.kind == "spend"}
        rows = database.query(USED)
        booked = {key: (str(transaction), amount) for key, transaction, amount in rows}
        assert len(booked) == len(rows), "something was applied twice"
        assert booked.keys() <= spends.keys(), "something was applied that nobody asked for"
        for name, operation in spends.items():
            if operation.answer:
                transaction = operation.answer["transaction"]
                assert booked.get(name) == (transaction["id"], operation.amount), f"{operation} is lost"
            elif name in booked:
                assert booked[name][1] == operation.amount, f"{operation} was changed"
                self.figures.given_up_done += 1
        for session in sessions:
            spent = sum(amount for key, (_, amount) in booked.items() if key.startswith(session.user_id))
            left = database.query(LEFT, session.user_id)
            assert left == [(150 + PLENTY - spent, spent)], f"{session.user_id} spent {spent} and has {left}"

        registered = {email for (email,) in database.query(WHOLE_USERS)}
        assert database.query("select count(*) from auth.users") == [(len(registered),)], "half a user"
        for email, operation in self._operations.items():
            if operation.kind == "register" and operation.answer:
                assert email in registered, f"{operation} is lost"


BALANCE = "/api/v1/credits/balance"
BUSY = """
select count(*) from pg_stat_activity
 where datname = current_database() and usename = 'mana_gateway' and state <> 'idle'
"""
USED = "select idempotency_key, id, -amount from credits.transactions where type = 'usage'"
LEFT = "select free_credits_remaining, total_spent from credits.balances where user_id = %s"
WHOLE_USERS = """
select u.email::text
  from auth.users as u
  join auth.passwords as p on p.user_id = u.id
  join credits.balances as b on b.user_id = u.id
  join credits.transactions as t on t.user_id = u.id and t.grant_window = 0 and t.amount = 150
"""
