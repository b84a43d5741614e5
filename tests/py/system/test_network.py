"""The network between the parts breaks, falls silent or is slow, and clients go away: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import urlsplit

import pytest

from gateway.database.connections import LOST_AFTER
from gateway.http.services import GAUGED_EVERY
from harness.clients import Reply, Service, Session, assert_problem
from harness.databases import Cluster, Database
from harness.doors import held_balance, waiting_for_a_lock
from harness.gateways import Gateway, rests
from harness.servers import PgBouncer, Redis
from harness.waiting import together, until
from proof import cuts
from proof.proxy import Fault, Kind, Proxy, Way

SPEND = "/api/v1/credits/use"
BALANCE = "/api/v1/credits/balance"
SPENDING, SPENT = b"a test", b"newBalance"  # in the parameters of a spend, in its answer
BREAKS = [Kind.CUT, Kind.CLOSE, Kind.HALF_CLOSE]


@dataclass
class Line:
    """A line that can be broken, and a client of the gateway that depends on it."""

    proxy: Proxy
    service: Service


@asynccontextmanager
async def served(database_url: str, **environment: str) -> AsyncIterator[tuple[Gateway, Service]]:
    """A gateway whose start does not hold up the proxies, which live in this process."""
    gateway = Gateway(database_url, environment)
    try:
        await asyncio.to_thread(gateway.start)
        async with Service(gateway.url) as service:
            yield gateway, service
    finally:
        await asyncio.to_thread(gateway.__exit__)


@pytest.fixture(scope="module", params=["gateway-PostgreSQL", "gateway-PgBouncer", "PgBouncer-PostgreSQL"])
async def line(request: pytest.FixtureRequest, cluster: Cluster, database: Database) -> AsyncIterator[Line]:
    server = urlsplit(cluster.admin_url).port
    assert server
    async with AsyncExitStack() as stack:
        if request.param == "gateway-PgBouncer":
            pooler = stack.enter_context(PgBouncer(cluster))
            proxy = await stack.enter_async_context(Proxy(pooler.port, postgres=True))
            url = proxy.url(pooler.url(database))
        else:
            proxy = await stack.enter_async_context(Proxy(server, postgres=True))
            url = proxy.url(database.gateway_url)
            if request.param == "PgBouncer-PostgreSQL":
                url = stack.enter_context(PgBouncer(cluster, port=proxy.port)).url(database)
        _, service = await stack.enter_async_context(served(url))
        yield Line(proxy, service)


async def insist(ask: Callable[[], Awaitable[Reply]]) -> Reply:
    """The first answer other than "not now"."""
    for _ in range(100):
        reply = await ask()
        if reply.status != 503:
            return reply
        await asyncio.sleep(0.05)
    raise AssertionError("the gateway did not recover")


def booked(database: Database, user: Session) -> list[str]:
    rows = database.query(
        "select idempotency_key from credits.transactions where user_id = %s and type = 'usage'", user.user_id
    )
    return sorted(key for (key,) in rows)


async def new_session(line: Line) -> Session:
    """A new user, on connections that have recovered from what was before."""
    email = f"{secrets.token_hex(8)}@example.com"
    assert (await insist(lambda: line.service.register(email))).status == 201
    return await line.service.session(email)


@pytest.mark.parametrize("part", [0.0, 0.999])
@pytest.mark.parametrize("kind", BREAKS)
async def test_a_spend_is_done_once_though_the_line_breaks_between_commit_and_answer(
    database: Database, line: Line, kind: Kind, part: float
) -> None:
    user = await new_session(line)
    committed = line.proxy.committed
    line.proxy.order(Fault(kind, Way.ANSWER, part, containing=SPENT))
    async with asyncio.timeout(LOST_AFTER / 2):  # sooner than a line that is silent is given up
        reply = await user.use(7, idempotencyKey="once")
    assert_problem(reply, 503, "service_unavailable")
    assert int(reply.headers["Retry-After"]) >= 1
    assert line.proxy.committed == committed + 1
    assert booked(database, user) == ["once"]

    again = await insist(lambda: user.use(7, idempotencyKey="once"))
    assert (again.status, again.headers.get("Idempotency-Replayed")) == (200, "true"), again.text
    assert again.body["newBalance"]["freeCreditsRemaining"] == 143
    assert (await user.balance())["freeCreditsRemaining"] == 143
    database.assert_ledger_is_sound()


@pytest.mark.parametrize("part", [0.0, 0.999])
@pytest.mark.parametrize("kind", BREAKS)
async def test_a_spend_of_which_a_part_arrives_is_not_done(
    database: Database, line: Line, kind: Kind, part: float
) -> None:
    user = await new_session(line)
    line.proxy.order(Fault(kind, Way.REQUEST, part, containing=SPENDING))
    assert_problem(await user.use(7, idempotencyKey="once"), 503, "service_unavailable")
    assert booked(database, user) == []

    again = await insist(lambda: user.use(7, idempotencyKey="once"))
    assert (again.status, again.headers.get("Idempotency-Replayed")) == (200, None), again.text
    assert (await user.balance())["freeCreditsRemaining"] == 143


async def test_a_crowd_in_one_transaction_is_charged_once_though_its_answer_is_lost(
    database: Database, line: Line
) -> None:
    crowd = [await new_session(line) for _ in range(20)]
    fault = line.proxy.order(Fault(Kind.CUT, Way.ANSWER, 0.9, containing=SPENT, times=2))  # in one transaction
    number = 0
    while not fault.struck.is_set():
        number += 1
        assert number < 20, "no two calls were in one transaction"
        replies = await together(*(user.use(1, idempotencyKey=f"{number}") for user in crowd))
        assert {reply.status for reply in replies} <= {200, 503}
        assert (sum(reply.status == 503 for reply in replies) >= 2) == fault.struck.is_set()
        for user in crowd:
            assert (await insist(lambda user=user, n=number: user.use(1, idempotencyKey=f"{n}"))).status == 200
    for user in crowd:
        assert len(booked(database, user)) == number
        assert (await user.balance())["freeCreditsRemaining"] == 150 - number
    database.assert_ledger_is_sound()


async def test_a_refresh_whose_answer_is_lost_is_done_again_with_the_same_successor(
    database: Database, line: Line
) -> None:
    user = await new_session(line)
    line.proxy.order(Fault(Kind.CUT, Way.ANSWER, containing=b"claims"))
    assert_problem(await line.service.refresh(user.refresh_token), 503, "service_unavailable")
    first = await insist(lambda: line.service.refresh(user.refresh_token))
    second = await line.service.refresh(user.refresh_token)
    assert (first.status, second.status) == (200, 200)
    assert first.body["refreshToken"] == second.body["refreshToken"]
    [(issued, revoked)] = database.query(
        "select count(*), bool_or(s.revoked_at is not null) from auth.sessions as s"
        " join auth.refresh_tokens as t on t.user_id = s.user_id and t.session_id = s.id where s.user_id = %s",
        user.user_id,
    )
    assert (issued, revoked) == (2, False)


async def test_a_registration_whose_answer_is_lost_is_whole(line: Line) -> None:
    await new_session(line)
    email = f"{secrets.token_hex(8)}@example.com"
    line.proxy.order(Fault(Kind.CUT, Way.ANSWER, containing=email.encode()))
    assert_problem(await line.service.register(email), 503, "service_unavailable")
    assert_problem(await insist(lambda: line.service.register(email)), 409, "email_taken")
    user = await line.service.session(email)
    assert (await user.balance())["freeCreditsRemaining"] == 150


async def test_a_logout_whose_answer_is_lost_has_ended_the_session(line: Line) -> None:
    user = await new_session(line)
    line.proxy.order(Fault(Kind.CUT, Way.ANSWER, containing=b"Logged out"))
    assert_problem(await user.post("/api/v1/auth/logout"), 503, "service_unavailable")
    assert_problem(await insist(lambda: user.get(BALANCE)), 401, "session_ended")
    assert_problem(await insist(lambda: line.service.refresh(user.refresh_token)), 401, "invalid_refresh_token")


async def test_an_answer_that_comes_late_is_the_answer(database: Database, line: Line) -> None:
    user, other = await new_session(line), await new_session(line)
    fault = line.proxy.order(Fault(Kind.DELAY, Way.ANSWER, seconds=2, containing=SPENT))
    late = asyncio.create_task(user.use(7, idempotencyKey="late"))
    async with asyncio.timeout(30):
        await fault.struck.wait()
    assert (await other.use(1, idempotencyKey="on time")).status == 200
    assert not late.done(), "the line was not slow"
    assert (await late).status == 200
    assert (booked(database, user), booked(database, other)) == (["late"], ["on time"])


async def test_a_line_that_falls_silent_is_given_up_and_holds_up_nobody_else(
    cluster: Cluster, database: Database
) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(urlsplit(cluster.admin_url).port or 0, postgres=True))
        _, service = await stack.enter_async_context(served(proxy.url(database.gateway_url)))
        user, other = await service.new_session(), await service.new_session()
        fault = proxy.order(Fault(Kind.DROP, Way.ANSWER, seconds=600, containing=SPENT))
        silent = asyncio.create_task(user.use(7, idempotencyKey="silent"))
        await until(lambda: booked(database, user))
        async with asyncio.timeout(30):
            while not silent.done():
                assert (await other.get(BALANCE)).status == 200
                await asyncio.sleep(0.05)
        assert_problem(await silent, 503, "service_unavailable")
        again = await user.use(7, idempotencyKey="silent")
        assert (again.status, again.headers.get("Idempotency-Replayed")) == (200, "true")
        assert fault.struck.is_set()


# ---------------------------------------------------------------- Redis


@pytest.fixture(scope="module")
async def redis_line(database: Database, redis: Redis) -> AsyncIterator[Line]:
    """The line between a gateway and Redis."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(redis.port))
        environment = {**redis.environment, "REDIS_PORT": str(proxy.port), "RATE_LIMIT_MAX": "50"}
        _, service = await stack.enter_async_context(served(database.gateway_url, TRUSTED_PROXIES="1", **environment))
        yield Line(proxy, service)


class Counted:
    """A client that is new to the limit of 50, and is never told a count that cannot be its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._headers = {"X-Forwarded-For": str(IPv4Address(secrets.randbelow(2**32)))}
        self.asked, self.left = 0, 50

    async def ask(self, times: int) -> None:
        for _ in range(times):
            reply = await self._service.get(BALANCE, headers=self._headers)
            assert reply.status == 401, reply.text
            self.asked += 1
            if "RateLimit-Remaining" in reply.headers:  # else nobody counted
                left = int(reply.headers["RateLimit-Remaining"])
                assert 50 - self.asked <= left < self.left, "that is somebody else's count"
                self.left = left


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        (Kind.CUT, "in an answer"),
        (Kind.DELAY, "in an answer"),
        (Kind.CUT, "when it connects"),
        (Kind.HALF_CLOSE, "when it connects"),
    ],
)
async def test_a_broken_line_to_redis_fails_no_request_and_mixes_up_no_answers(
    redis_line: Line, kind: Kind, when: str
) -> None:
    """Each client has an address of its own, so whose count an answer has shows in what is left."""
    proxy, service = redis_line.proxy, redis_line.service

    async def exact() -> bool:
        """Whether each of a crowd, no two with a count in common, is told exactly its own."""
        crowd = [Counted(service) for _ in range(6)]
        await together(*(client.ask(2 * number) for number, client in enumerate(crowd)))
        await together(*(client.ask(2) for client in crowd))
        return all(client.left == 50 - client.asked for client in crowd)

    await until(exact)
    faults = [proxy.order(Fault(kind, Way.ANSWER, 0.5, seconds=0.4)) for _ in range(2)]
    if when == "when it connects":
        proxy.reset()
    while not all(fault.struck.is_set() for fault in faults):
        await exact()
    await until(exact)


# ---------------------------------------------------------------- clients that go away


def request(user: Session, key: str) -> bytes:
    """A spend, as bytes."""
    body = json.dumps({"amount": 1, "appId": "tests", "description": "a test", "idempotencyKey": key}).encode()
    head = f"POST {SPEND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.access_token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def go_away(client: socket.socket, how: str) -> None:
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_clients_that_go_away_leave_no_half_effect_and_no_connection(
    database: Database, gateway: Gateway, service: Service, how: str
) -> None:
    user = await service.new_session()
    await service.client.connector.close()  # type: ignore[union-attr]
    before = gateway.sockets()
    address = ("127.0.0.1", urlsplit(gateway.url).port)

    def arrive(key: str, share: float) -> socket.socket:
        client = socket.create_connection(address, 5)
        sent = request(user, key)
        client.sendall(sent[: int(len(sent) * share)])
        return client

    # In the middle of the head, and of the body.
    for share in (0.0, 0.2, 0.5, 0.95, 0.999):
        for client in [arrive(f"part {share}", share) for _ in range(10)]:
            go_away(client, how)
    # While the call waits for a lock.
    with held_balance(database, user.user_id):
        waiting = [arrive(f"waits {number}", 1) for number in range(10)]
        await until(lambda: waiting_for_a_lock(database))
        for client in waiting:
            go_away(client, how)
    # Before the answer is read: some when it is there, some at once.
    unread = [arrive(f"unread {number}", 1) for number in range(10)]
    await until(lambda: [key for key in booked(database, user) if key.startswith("unread")])
    for client in unread:
        go_away(client, how)

    async with Service(gateway.url) as probe:
        await asyncio.sleep(GAUGED_EVERY)  # what the metrics said before that is no proof
        await until(lambda: rests(probe), 10)
    await until(lambda: gateway.sockets() <= before, 10)
    assert database.query(cuts.BUSY) == [(0,)]
    done = booked(database, user)
    assert len(done) == len(set(done))
    assert [key for key in done if key.startswith("part")] == []
    database.assert_ledger_is_sound()

    async with Service(gateway.url) as back:
        user.service = back
        for number in range(10):
            for key in (f"waits {number}", f"unread {number}"):
                assert (await user.use(1, idempotencyKey=key)).status == 200
        assert len(booked(database, user)) == 20
        assert (await user.balance())["freeCreditsRemaining"] == 130


# ---------------------------------------------------------------- everything at once


async def test_cuts_everywhere_lose_nothing_and_double_nothing(cluster: Cluster) -> None:
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**32))
    faults, report = await cuts.run(cluster, seed, 80)
    print(faults, report, sep="; ")
    assert faults.committed > 5
    assert report.outcomes["unknown"] > 0, "nobody was hit"
