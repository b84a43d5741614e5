"""Connections to PostgreSQL: libpq in pipeline mode, statements prepared where they last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg import pq

from gateway.database import pins
from gateway.database.calls import Call, Reply
from gateway.database.lanes import Lane
from gateway.database.refusals import Failure

LOST_AFTER = 8.0  # seconds without an answer after which a connection is given up; above statement_timeout
MAX_REPLY = 2 * 2**20  # bytes of a body: no function returns more, so something is wrong
RETRY = (0.05, 1.0)  # seconds between attempts to connect: the first, and the most
CONNECT_TIMEOUT = 3  # seconds

# A connection that answers with one of these will not do better: its prepared statements do not fit
# the functions any more, or it leads to a server that has become read-only.
_START_AFRESH = (b"0A000", b"25006", b"26000")

# Severities after which the server ends the connection.
_LAST_WORDS = (b"FATAL", b"PANIC")

_NO_RESULT = Failure("08006")

# No failure: the call was carried out, and must not go again.
_TOO_LARGE = Reply(500, b'{"code": "internal_error", "detail": "The answer is too large. It has been logged."}', {})

# Psycopg prepares it as _pg3_0.
_WHAT_IS_PREPARED = """
select pg_catalog.pg_backend_pid(), array(
    select name from pg_catalog.pg_prepared_statements
     where statement operator(pg_catalog.~) 'mana asks what is prepared'
)
"""

_log = structlog.get_logger()


@asynccontextmanager
async def connected(lane: Lane, url: str, size: int) -> AsyncIterator[None]:
    """Keep ``size`` connections of a lane up while the context lasts."""
    # No TaskGroup: it would wrap an error of the context's body in a group.
    keepers = [asyncio.create_task(_keep_connected(lane, url)) for _ in range(size)]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _keep_connected(lane: Lane, url: str) -> None:
    delay, most = RETRY
    while True:
        try:
            owner = await psycopg.AsyncConnection.connect(
                pins.conninfo(url, tcp_user_timeout=int(LOST_AFTER * 1000)),
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT,
                application_name=f"mana-gateway {lane.name}",
            )
        except (psycopg.Error, OSError) as error:
            _log.warning("database_unreachable", lane=lane.name, error=type(error).__name__)
            await asyncio.sleep(delay)
            delay = min(delay * 2, most)
            continue
        try:
            delay = RETRY[0]
            async with asyncio.timeout(CONNECT_TIMEOUT):
                prepares = await keeps_statements(owner)
                await pin(owner)
            await _Connection(owner, prepares, lane).serve()
        except (psycopg.Error, OSError) as error:
            _log.warning("database_connection_failed", lane=lane.name, error=type(error).__name__)
        finally:
            await owner.close()
        await asyncio.sleep(delay)


async def keeps_statements(owner: psycopg.AsyncConnection[Any]) -> bool:
    """Whether what is prepared on this connection is there at the next transaction.

    Directly it is. A pooler that keeps track of statements (PgBouncer from 1.21 on, unless
    max_prepared_statements is 0) gives them names of its own; any other lets all its clients share
    what they prepared on its servers.
    """
    try:
        cursor = await owner.execute(_WHAT_IS_PREPARED, prepare=True)
    except psycopg.errors.DuplicatePreparedStatement:
        return False  # an earlier client of the pooler left it there
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - for the type checker
    backend_pid, names = row
    return backend_pid == owner.info.backend_pid or any(not name.startswith("_pg3_") for name in names)


async def pin(owner: psycopg.AsyncConnection[Any]) -> None:
    """Pin what our SQL depends on, unless a pooler is between: its next client would have the settings."""
    cursor = await owner.execute("select pg_catalog.pg_backend_pid()")
    if await cursor.fetchone() == (owner.info.backend_pid,):
        for statement, arguments in pins.for_gateways():
            await owner.execute(statement, arguments)


class _Connection:
    """A connection of a lane, with at most one statement on its way."""

    def __init__(self, owner: psycopg.AsyncConnection[Any], prepares: bool, lane: Lane) -> None:
        owner.pgconn.nonblocking = 1
        owner.pgconn.enter_pipeline_mode()
        self._pgconn = owner.pgconn
        self._prepares = prepares
        self._lane = lane
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._descriptor = owner.pgconn.socket  # libpq forgets it when the connection breaks
        self._calls = 0  # of the statement on its way
        self._sent_at = 0.0
        self._preparing = b""  # the statement that is being prepared first
        self._prepared: set[bytes] = set()
        self._result: pq.abc.PGresult | None = None

    async def serve(self) -> None:
        """Serve the lane until the connection is lost."""
        try:
            self._loop.add_reader(self._descriptor, self._receive)
            self._lane.join(self)
            while not self._lost.done():
                await asyncio.wait([self._lost], timeout=1)
                if not self._lost.done():
                    self._receive()  # uvloop does not report that a connection was reset
                if self._calls and time.monotonic() - self._sent_at > LOST_AFTER:
                    _log.warning("database_silent", lane=self._lane.name)
                    self._lose()
        finally:
            self._lose()

    def send(self, calls: Sequence[Call]) -> None:
        """Send calls of one function."""
        statement, arguments = calls[0].statement, calls[0].arguments
        name, sql = statement.name.encode(), statement.sql.encode()
        if statement.serves_many:
            arguments = [array_literal(values) for values in zip(*(call.arguments for call in calls), strict=True)]
            arguments.append(b"t" if calls[0].waits else b"f")
        self._calls = len(calls)
        self._sent_at = time.monotonic()
        try:
            if self._prepares:
                if name not in self._prepared:
                    self._pgconn.send_prepare(name, sql)
                    self._prepared.add(name)
                    self._preparing = name
                self._pgconn.send_query_prepared(name, arguments)
            else:
                self._pgconn.send_query_params(sql, arguments)
            self._pgconn.pipeline_sync()
        except psycopg.Error:
            self._lose()
            return
        self._flush()

    def _flush(self) -> None:
        if self._lost.done():
            return
        try:
            unsent = self._pgconn.flush()
        except psycopg.Error:
            self._lose()
            return
        if unsent:
            self._loop.add_writer(self._descriptor, self._flush)
        else:
            self._loop.remove_writer(self._descriptor)

    def _receive(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            ended = False
            while self._calls and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None and ended:
                    # One None ends a statement's results; two in a row: there will be no more.
                    self._lose()
                    break
                ended = result is None
                if result is None:
                    continue
                if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in _LAST_WORDS:
                    # The server hangs up now. Do not wait to see it: once the connection was
                    # reset, uvloop watches it no longer.
                    self._lose()
                    break
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    self._finish()
                elif self._preparing:
                    if result.status != pq.ExecStatus.COMMAND_OK:
                        self._prepared.discard(self._preparing)
                        self._result = result
                    self._preparing = b""
                elif self._result is None or self._result.status == pq.ExecStatus.TUPLES_OK:
                    # The first error counts, also one after the rows: the commit comes last, and may fail.
                    self._result = result
        except psycopg.Error:
            self._lose()
        self._lane.send_waiting()

    def _finish(self) -> None:
        calls, result = self._calls, self._result
        self._calls, self._result = 0, None
        if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
            replies = [_reply(result, row) for row in range(calls)]
            self._lane.answered(self, replies)
            if any(reply is _TOO_LARGE for reply in replies):
                _log.error("database_reply_too_large", lane=self._lane.name)
                self._lose()  # libpq keeps the memory that it took
            return
        self._lane.answered(self, _failure(result) if result is not None else _NO_RESULT)
        if result is not None and result.error_field(pq.DiagnosticField.SQLSTATE) in _START_AFRESH:
            self._lose()

    def _lose(self) -> None:
        """Give the connection up: no reply will come over it."""
        if self._lost.done():
            return
        self._lost.set_result(None)
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._calls = 0
        self._lane.leave(self)


def array_literal(values: Sequence[bytes | None]) -> bytes:
    """PostgreSQL's text form of an array; the function determines the type of its elements."""
    return b"{" + b",".join(b"NULL" if value is None else _quoted(value) for value in values) + b"}"


def _quoted(value: bytes) -> bytes:
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _reply(result: pq.abc.PGresult, row: int) -> Reply | None:
    """A row as a Reply; None if its status is null, which means that the call was left out."""
    status = result.get_value(row, 0)
    if status is None:
        return None
    body, headers, events = (result.get_value(row, column) for column in range(1, 4))
    if body and len(body) > MAX_REPLY:
        return _TOO_LARGE
    return Reply(
        int(status), body or b"", msgspec.json.decode(headers) if headers else {}, events.decode() if events else ""
    )


def _failure(result: pq.abc.PGresult) -> Failure:
    fields = (pq.DiagnosticField.SQLSTATE, pq.DiagnosticField.MESSAGE_PRIMARY, pq.DiagnosticField.MESSAGE_DETAIL)
    return Failure(*((result.error_field(field) or b"").decode() for field in fields))
