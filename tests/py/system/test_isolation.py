"""One connection for everybody: no request sees rows or claims of another one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from harness.clients import PASSWORD, Reply, Service, Session, assert_problem
from harness.databases import Cluster, Database
from harness.gateways import Gateway
from harness.servers import PgBouncer
from harness.waiting import together
from proof import isolation

USERS = 6


@pytest.fixture(scope="module")
def bottleneck(cluster: Cluster) -> Iterator[PgBouncer]:
    """PgBouncer with a single server connection."""
    with PgBouncer(cluster, connections=1) as running:
        yield running


@pytest.fixture(scope="module", params=["one pipelined connection", "one pooled connection"])
def narrow_gateway(request: pytest.FixtureRequest, database: Database, bottleneck: PgBouncer) -> Iterator[Gateway]:
    pooled = request.param == "one pooled connection"
    url = bottleneck.url(database) if pooled else database.gateway_url
    with Gateway(url, {"DATABASE_CONNECTIONS": "1", "PASSWORD_CONNECTIONS": "1"}) as running:
        yield running


@pytest.fixture
async def narrow(narrow_gateway: Gateway) -> AsyncIterator[Service]:
    async with Service(narrow_gateway.url) as client:
        yield client


@pytest.fixture(scope="module")
def pooled_gateway(database: Database, bottleneck: PgBouncer) -> Iterator[Gateway]:
    with Gateway(bottleneck.url(database)) as running:
        yield running


@pytest.fixture
async def pooled(pooled_gateway: Gateway) -> AsyncIterator[Service]:
    async with Service(pooled_gateway.url) as client:
        yield client


@pytest.fixture
def stranger(database: Database, bottleneck: PgBouncer) -> Iterator[psycopg.Connection[Any]]:
    """Another client of the pooler, who gets the same server connection after each request."""
    with psycopg.connect(bottleneck.url(database), autocommit=True, prepare_threshold=None) as connection:
        yield connection


def assert_sees_nobody(stranger: psycopg.Connection[Any]) -> None:
    seen = stranger.execute(
        """select nullif(current_setting('request.jwt.claims', true), ''),
                  nullif(current_setting('request.context', true), ''),
                  nullif(current_setting('request.user_ids', true), ''),
                  nullif(current_setting('request.seal', true), '')"""
    ).fetchone()
    assert seen == (None, None, None, None)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute("select * from credits.list_transactions()")


def server_connections(database: Database) -> int:
    [(count,)] = database.query(
        "select count(*) from pg_stat_activity where usename = 'mana_gateway' and datname = current_database()"
    )
    return int(count)


class Visitor:
    """A user who leaves marks and looks for anything that is not theirs."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.app = f"app-{number}"
        self.spent = 0

    async def visit(self) -> None:
        session = self.session
        await together(self._use(), self._look(), self._look(), self._fail(), self._validate(), self._use())
        balance = await session.balance()
        assert (balance["totalSpent"], balance["freeCreditsRemaining"]) == (self.spent, 150 - self.spent)

    async def _use(self) -> None:
        reply = await self.session.use(1, appId=self.app)
        assert reply.status == 200
        assert reply.body["transaction"]["userId"] == self.session.user_id
        self.spent += 1

    async def _look(self) -> None:
        reply = await self.session.get("/api/v1/credits/transactions?limit=100")
        assert {row["userId"] for row in reply.body} == {self.session.user_id}
        assert {row["appId"] for row in reply.body} <= {None, self.app}

    async def _fail(self) -> None:
        assert_problem(await self.session.use(1000), 402, "insufficient_credits")
        assert_problem(await self.session.use(1, expectedVersion=0), 409, "version_conflict")
        wrong = await self.session.service.login(self.session.email, "not the password")
        assert_problem(wrong, 401, "invalid_credentials")

    async def _validate(self) -> None:
        reply = await self.session.service.post("/api/v1/auth/validate", {"token": self.session.access_token})
        assert reply.body["payload"]["sub"] == self.session.user_id


async def test_users_who_share_a_connection_see_only_their_own(database: Database, narrow: Service) -> None:
    visitors = [Visitor(await narrow.new_session(), number) for number in range(USERS)]
    ended = await narrow.new_session()
    await ended.post("/api/v1/auth/logout")

    async def knock() -> None:
        for _ in range(8):
            assert_problem(await ended.get("/api/v1/credits/balance"), 401, "session_ended")
            assert_problem(await ended.get("/api/v1/credits/transactions"), 401, "session_ended")

    for _ in range(5):
        await together(*(visitor.visit() for visitor in visitors), knock())
    assert server_connections(database) <= 2
    database.assert_ledger_is_sound()


async def test_the_events_of_users_who_share_a_connection_are_their_own(database: Database, narrow: Service) -> None:
    sessions = [await narrow.new_session() for _ in range(USERS)]
    replies = await together(
        *(narrow.login(session.email, "not the password") for session in sessions for _ in range(3))
    )
    requests = [reply.headers["X-Request-Id"] for reply in replies]
    for i, session in enumerate(sessions):
        rows = database.query(
            "select request_id from auth.security_events where user_id = %s and event_type = 'login_failed'",
            session.user_id,
        )
        assert {request for (request,) in rows} == set(requests[3 * i : 3 * i + 3])


Act = Callable[[Session], Awaitable[Reply]]


async def _reuse(session: Session) -> Reply:
    following = await session.service.refresh(session.refresh_token)
    await session.service.refresh(following.body["refreshToken"])
    return await session.service.refresh(session.refresh_token)


async def _reuse_key(session: Session) -> Reply:
    await session.use(1, idempotencyKey="k")
    return await session.use(2, idempotencyKey="k")


async def _call_after_logout(session: Session) -> Reply:
    await session.post("/api/v1/auth/logout")
    return await session.get("/api/v1/credits/balance")


async def _validate(session: Session) -> Reply:
    return await session.service.post("/api/v1/auth/validate", {"token": session.access_token})


async def _log_out_by_refresh_token(session: Session) -> Reply:
    return await session.service.post("/api/v1/auth/logout", {"refreshToken": session.refresh_token})


ACTS: dict[str, tuple[Act, int]] = {
    "balance": (lambda session: session.get("/api/v1/credits/balance"), 200),
    "spend": (lambda session: session.use(1), 200),
    "spend too much": (lambda session: session.use(1000), 402),
    "spend at another version": (lambda session: session.use(1, expectedVersion=0), 409),
    "reuse a key": (_reuse_key, 422),
    "transactions": (lambda session: session.get("/api/v1/credits/transactions"), 200),
    "validate": (_validate, 200),
    "register": (lambda session: session.service.register(), 201),
    "register again": (lambda session: session.service.register(session.email), 409),
    "login": (lambda session: session.service.login(session.email), 200),
    "login with a wrong password": (lambda session: session.service.login(session.email, PASSWORD + "!"), 401),
    "refresh": (lambda session: session.service.refresh(session.refresh_token), 200),
    "refresh with a used token": (_reuse, 401),
    "log out": (lambda session: session.post("/api/v1/auth/logout"), 200),
    "log out by refresh token": (_log_out_by_refresh_token, 200),
    "call after logout": (_call_after_logout, 401),
}


@pytest.mark.parametrize("name", ACTS)
async def test_the_next_client_of_the_connection_is_nobody_after(
    database: Database, pooled: Service, stranger: psycopg.Connection[Any], name: str
) -> None:
    act, status = ACTS[name]
    session = await pooled.new_session()
    reply = await act(session)
    assert reply.status == status, reply.text
    assert_sees_nobody(stranger)
    assert server_connections(database) == 1


async def test_the_next_client_of_the_connection_is_nobody_after_a_crash_in_the_function(
    database: Database, pooled: Service, stranger: psycopg.Connection[Any]
) -> None:
    session = await pooled.new_session()
    database.query("alter table credits.settings rename to hidden")
    try:
        reply = await session.get("/api/v1/credits/balance")
        assert_problem(reply, 500, "internal_error")
        assert "settings" not in reply.text
        assert_sees_nobody(stranger)
    finally:
        database.query("alter table credits.hidden rename to settings")
    assert (await session.balance())["totalEarned"] == 150


async def test_claims_of_somebody_else_are_refused_by_the_database(
    pooled: Service, stranger: psycopg.Connection[Any]
) -> None:
    one, other = await pooled.new_session(), await pooled.new_session()
    claims = json.dumps({"sub": other.user_id, "role": "admin", "sessionId": str(uuid4())})
    with pytest.raises(psycopg.Error) as error:
        stranger.execute(
            "select * from api.list_packages(p_user_id => %s, p_claims => %s, p_context => '{}')", (one.user_id, claims)
        )
    assert (error.value.sqlstate, error.value.diag.message_primary) == ("PT401", "invalid_token")
    [(status, body)] = stranger.execute(
        "select status, body from api.get_balance(array[%s]::uuid[], array[%s], array['{}'])", (one.user_id, claims)
    ).fetchall()
    assert (status, body["code"]) == (401, "invalid_token")
    assert_sees_nobody(stranger)


@pytest.mark.parametrize("mode", isolation.PLAN_CACHE_MODES)
async def test_a_mixed_crowd_on_few_connections_sees_no_foreign_row(cluster: Cluster, mode: str) -> None:
    """The short form of ``make soak ARGS=isolation``."""
    figures = await isolation.mix(cluster, mode, calls=500, seed=7)
    assert figures.shared > 0
    assert figures.looks > figures.calls.total() / 2
    assert all(figures.calls[how] for how in isolation.FAULTS)
