"""How the gateway and its connections to PostgreSQL live through failures."""

from __future__ import annotations

import asyncio
import base64
import socket
from contextlib import ExitStack
from uuid import UUID

import psycopg
import pytest

from gateway.api.table import ROUTES
from gateway.database.connections import LOST_AFTER, MAX_REPLY, connected, keeps_statements
from gateway.database.lanes import Lane
from gateway.operate import connecting
from harness.clients import Service, Session, assert_problem
from harness.databases import Cluster, Database
from harness.places import ROOT
from harness.servers import PgBouncer
from harness.waiting import together, until

# Of a connection to a peer that vanishes: seconds until it is asked for a sign, between two questions, and how many
# of them; and milliseconds in which it has to acknowledge what is sent.
KERNELS = (socket.SO_KEEPALIVE, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)

END_ALL = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
 where usename = 'mana_gateway' and datname = current_database()
"""


async def test_ended_server_processes_leave_no_call_without_an_answer(service: Service, database: Database) -> None:
    session = await service.new_session()
    calling = True

    async def end_all() -> int:
        ended = 0
        with database.connect() as connection:
            for _ in range(20):
                await asyncio.sleep(0.05)
                [(count,)] = connection.execute(END_ALL).fetchall()
                ended += count
        nonlocal calling
        calling = False
        return ended

    async def call() -> set[int]:
        statuses = set()
        while calling:
            # Sooner than a connection that is silent is given up.
            async with asyncio.timeout(LOST_AFTER - 1):
                statuses.add((await session.get("/api/v1/credits/balance")).status)
        return statuses

    ended, *statuses = await together(end_all(), *(call() for _ in range(8)))
    assert ended > 0
    assert set.union(*statuses) <= {200, 503}
    assert await _answers_again(session)


async def _answers_again(session: Session) -> bool:
    for _ in range(50):
        if (await session.get("/api/v1/credits/balance")).status == 200:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_call_that_waits_for_a_lock_does_not_hold_up_others(service: Service, database: Database) -> None:
    hot, other = await service.new_session(), await service.new_session()
    with database.connect() as connection, connection.transaction():
        connection.execute("select from credits.balances where user_id = %s for update", (hot.user_id,))
        spends = [asyncio.create_task(hot.use(1)) for _ in range(4)]
        await asyncio.sleep(0.2)
        assert {reply.status for reply in await together(*(other.use(1) for _ in range(20)))} == {200}
        assert not any(spend.done() for spend in spends)
    assert {(await spend).status for spend in spends} == {200}
    database.assert_ledger_is_sound()


async def test_a_call_beside_one_that_waits_for_a_lock_goes_at_once(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when that one is found to stall: which here takes longer than the test does."""
    monkeypatch.setattr("gateway.database.lanes.STALLED_AFTER", 30.0)
    hot, other = await service.new_session(), await service.new_session()
    [use] = [route.statement for route in ROUTES if route.function == "use_credits"]

    def spend(session: Session) -> list[bytes | None]:
        claims = session.access_token.split(".")[1]
        payload = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
        return [session.user_id.encode(), payload, b"{}", b"1", b"tests", b"a test", None, None, None]

    lane = Lane("quick", busy=2, queue=10)
    async with connected(lane, database.gateway_url, 2):
        async with asyncio.timeout(10):
            assert (await lane.call(use, spend(other))).status == 200
        with database.connect() as connection, connection.transaction():
            connection.execute("select from credits.balances where user_id = %s for update", (hot.user_id,))
            waiting = asyncio.create_task(lane.call(use, spend(hot)))
            await asyncio.sleep(0.1)
            async with asyncio.timeout(1):
                assert (await lane.call(use, spend(other))).status == 200
            assert not waiting.done()
        assert (await waiting).status == 200


async def test_calls_that_share_a_transaction_end_as_if_alone(service: Service, database: Database) -> None:
    """Every outcome of a spend, again and again in one crowd of users: refusals must not touch neighbours."""
    spenders = [await service.new_session() for _ in range(12)]
    poor, logged_out, disabled = spenders[:3]
    assert (await poor.use(150)).status == 200
    await logged_out.post("/api/v1/auth/logout")
    database.query("select auth.set_disabled(%s, true)", disabled.email)

    for number in range(6):
        calls = [
            (402, poor.use(1)),
            (401, logged_out.use(1)),
            (401, disabled.use(1)),
            (409, spenders[3].use(1, expectedVersion=0)),
            *((200, session.use(2, idempotencyKey=f"{number}")) for session in spenders[4:]),
            *((200, session.use(2, idempotencyKey=f"{number}")) for session in spenders[4:]),
            *((200, session.get("/api/v1/credits/balance")) for session in spenders[3:]),
        ]
        replies = await together(*(call for _, call in calls))
        assert [reply.status for reply in replies] == [status for status, _ in calls]
        first, again = replies[4:12], replies[12:20]
        assert [reply.body for reply in first] == [reply.body for reply in again]
        assert [reply.body["transaction"]["userId"] for reply in first] == [s.user_id for s in spenders[4:]]

    left = [(await session.balance())["freeCreditsRemaining"] for session in spenders[3:]]
    assert left == [150, *[150 - 6 * 2] * 8]
    database.assert_ledger_is_sound()


async def test_spends_of_a_crowd_do_share_transactions(service: Service, database: Database) -> None:
    sessions = [await service.new_session() for _ in range(40)]
    await together(*(session.use(1) for session in sessions))
    [(transactions,)] = database.query(
        "select count(distinct xmin::text) from credits.transactions where type = 'usage' and user_id = any(%s)",
        [UUID(session.user_id) for session in sessions],
    )
    assert transactions < len(sessions)


async def test_a_user_whose_row_is_locked_does_not_hold_up_the_others(service: Service, database: Database) -> None:
    locked, other = await service.new_session(), await service.new_session()
    with database.connect() as connection, connection.transaction():
        connection.execute("select from credits.balances where user_id = %s for update", (locked.user_id,))
        spends = [asyncio.create_task(locked.use(1)) for _ in range(24)]
        await asyncio.sleep(0.2)
        for _ in range(5):
            assert (await other.get("/api/v1/credits/balance")).status == 200
    statuses = [(await spend).status for spend in spends]
    assert set(statuses) <= {200, 503}
    left = (await locked.balance())["freeCreditsRemaining"]
    assert left == 150 - statuses.count(200)


REFUSE_AT_COMMIT = """
create function test.refuse() returns trigger language plpgsql as $$ begin raise 'not at commit'; end $$;
create constraint trigger refuse after insert on credits.transactions
    deferrable initially deferred for each row when (new.type = 'usage') execute function test.refuse();
"""


@pytest.mark.parametrize("crowd", [1, 30])
async def test_a_commit_that_fails_is_no_success(service: Service, database: Database, crowd: int) -> None:
    sessions = [await service.new_session() for _ in range(crowd)]
    database.query("grant execute on all functions in schema test to public")
    with database.connect() as connection:
        connection.execute(REFUSE_AT_COMMIT)
        try:
            replies = await together(*(session.use(1) for session in sessions))
        finally:
            connection.execute("drop trigger refuse on credits.transactions; drop function test.refuse()")
    assert {reply.status for reply in replies} == {500}
    assert {(await session.balance())["freeCreditsRemaining"] for session in sessions} == {150}


async def test_a_function_whose_result_changed_works_again_on_a_new_connection(
    service: Service, database: Database
) -> None:
    session = await service.new_session()
    await together(*(session.balance() for _ in range(30)))
    with database.connect() as connection:
        connection.execute("alter type api.reply add attribute extra text")
        connection.execute("alter type api.reply drop attribute extra")
    assert await _answers_again(session)


async def test_a_reply_that_is_too_large_is_an_error_and_nothing_goes_twice(
    service: Service, database: Database
) -> None:
    session = await service.new_session()
    path = ROOT / "sql/functions/api/shapes/spend.sql"
    with database.connect() as connection:
        connection.execute(
            "create or replace function api.spend(p_receipt credits.receipt) returns json language sql stable"
            f" as 'select to_json(repeat(''x'', {MAX_REPLY}))'"
        )
        try:
            spends = await together(*(session.use(1) for _ in range(3)))
        finally:
            connection.execute(path.read_bytes())
    for reply in spends:
        assert_problem(reply, 500, "internal_error")
    assert (await session.balance())["totalSpent"] == 3
    database.assert_ledger_is_sound()


async def test_statements_are_prepared_where_they_stay(cluster: Cluster, database: Database) -> None:
    """Directly, and through a pooler that keeps track of them. Asked twice: the second time of a used connection."""
    keeps_track = PgBouncer.version() >= (1, 21)
    expected = [(database.gateway_url, True)]
    with ExitStack() as stack:
        poolers = [(stack.enter_context(PgBouncer(cluster, connections=1)), keeps_track)]
        if keeps_track:
            settings = {"max_prepared_statements": "0"}
            poolers.append((stack.enter_context(PgBouncer(cluster, connections=1, settings=settings)), False))
        expected += [(pooler.url(database), kept) for pooler, kept in poolers]
        for url, kept in expected:
            for _ in range(2):
                async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                    assert await keeps_statements(connection) == kept


# ---------------------------------------------------------------- a peer that vanishes without a word


def kernels(connection: psycopg.AsyncConnection | psycopg.Connection) -> list[int]:
    """What the kernel does for this connection."""
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as duplicate:
        first = duplicate.getsockopt(socket.SOL_SOCKET, KERNELS[0])
        return [first, *(duplicate.getsockopt(socket.IPPROTO_TCP, option) for option in KERNELS[1:])]


async def test_the_kernel_gives_a_vanished_server_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[psycopg.AsyncConnection] = []
    connect = psycopg.AsyncConnection.connect

    async def kept(*arguments: object, **options: object) -> psycopg.AsyncConnection:
        opened.append(await connect(*arguments, **options))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", kept)
    lane = Lane("quick", 1, 10)
    slow = f"{database.gateway_url}?keepalives=0&keepalives_idle=7200&tcp_user_timeout=0"
    async with connected(lane, slow, 1):
        await until(lambda: lane.connections)
        assert kernels(opened[0]) == [1, 30, 5, 2, LOST_AFTER * 1000]
    with connecting.connect(f"{database.admin_url}?keepalives=0") as administrators:
        assert kernels(administrators) == [1, 30, 5, 2, 40_000]


def test_the_server_gives_a_vanished_client_up(database: Database) -> None:
    """PostgreSQL shows what the kernel does for the connection that asks."""
    names = ("idle", "interval", "count")
    shown = [database.query(f"show tcp_keepalives_{name}") for name in names]
    assert shown == [[("30",)], [("5",)], [("2",)]]
    assert database.query("show tcp_user_timeout") == [("10000",)]
    assert database.query("show client_connection_check_interval") == [("5s",)]


def test_the_pooler_gives_both_up() -> None:
    lines = (ROOT / "deploy" / "services" / "pgbouncer" / "pgbouncer.ini").read_text().splitlines()
    kept = {
        "tcp_keepalive = 1",
        "tcp_keepidle = 30",
        "tcp_keepintvl = 5",
        "tcp_keepcnt = 2",
        "tcp_user_timeout = 10000",
    }
    assert kept <= set(lines)
