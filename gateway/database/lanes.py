"""The one thing that talks to PostgreSQL: a call of one SQL function.

A connection carries one statement at a time. Calls that arrive while all are busy wait, and those of
one route then go out together, where its function serves many users: one round trip and one commit
for all of them. In company it waits for nobody: a call that would have to wait gets no answer and is
called again alone. All of them are when it fails, for then nothing has happened. So a call ends as if
it had always been alone. Calls that hash a password have a lane of their own, so that a flood of logins waits
for itself and nobody else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg import pq

from gateway.api.routes import Route
from gateway.database import refusals
from gateway.problems import Problem, unavailable

QUEUED_FOR = 0.8  # seconds that a call may wait to be sent: whoever has to be refused hears it within one
# The same of logins: while all cores hash, who is refused hears it late. It is not said at once either:
# a flood that is answered in no time comes back in no time.
PASSWORD_QUEUED_FOR = 0.6  # seconds
BATCH = 32  # calls that may share a transaction
BUSY = 2  # statements of quick calls that a worker has at work at a time
STALLED_AFTER = 0.05  # seconds after which a statement waits for something and is not counted as busy
LOST_AFTER = 8.0  # seconds without an answer after which a connection is given up; above statement_timeout
RETRY = (0.05, 1.0)  # seconds between attempts to connect: the first, and the most
CONNECT_TIMEOUT = 3  # seconds

# Classes of SQLSTATE that say "not now": lost connection, rollback by concurrency, resources,
# operator intervention (a timeout is one), lock not available.
_NOT_NOW = ("08", "25006", "40", "53", "57", "55P03")

# A connection that answers with one of these will not do better: its prepared statements do not fit
# the functions any more, or it leads to a server that has become read-only.
_START_AFRESH = (b"0A000", b"25006", b"26000")

# Severities after which the server ends the connection.
_LAST_WORDS = (b"FATAL", b"PANIC")

# Psycopg prepares it as _pg3_0.
_WHAT_IS_PREPARED = """
select pg_backend_pid(), array(select name from pg_prepared_statements where statement ~ 'mana asks what is prepared')
"""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the function answered: the finished JSON text, headers for the client, events for the metrics."""

    status: int
    body: bytes
    headers: dict[str, str]
    events: str = ""  # as base.note_event leaves them


@dataclass(slots=True, eq=False)
class _Call:
    route: Route
    arguments: Sequence[bytes | None]
    future: asyncio.Future[Reply]
    expires_at: float  # when it is given up, unless it was sent
    alone: bool = False  # it was in a batch, and was not served

    @property
    def of_user(self) -> tuple[str, bytes | None] | None:
        """The function and the user, where calls may go together."""
        return (self.route.function, self.arguments[0]) if self.route.serves_many else None


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection, and the calls of the statement that is on its way over it."""

    owner: psycopg.AsyncConnection[Any]
    prepares: bool
    lost: asyncio.Future[None]
    descriptor: int  # of the socket; libpq forgets it when the connection breaks
    calls: list[_Call] = field(default_factory=list)
    sent_at: float = 0.0
    preparing: bytes = b""  # the statement that is being prepared first
    prepared: set[bytes] = field(default_factory=set)
    result: pq.abc.PGresult | None = None


class Lane:
    """A queue of calls and the connections that serve it.

    Of ``size`` connections, ``busy`` work at a time: that many the server's cores can serve, and
    calls that have to wait anyhow had better share a transaction. Others are for when a statement
    waits for a lock. At most ``queue`` calls wait, for at most ``patience`` seconds.
    """

    def __init__(self, name: str, url: str, size: int, busy: int, queue: int, *, patience: float = QUEUED_FOR) -> None:
        self.name = name
        self._url = url
        self._size = size
        self._busy = busy
        self._queue = queue
        self._patience = patience
        self._waiting: deque[_Call] = deque()
        self._connections: list[_Connection] = []
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._next_look = 0.0

    @property
    def waiting(self) -> int:
        """Calls that wait to be sent."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Calls that were sent and have no answer yet."""
        return sum(len(connection.calls) for connection in self._connections)

    @property
    def connections(self) -> int:
        """Connections that are up."""
        return len(self._connections)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connections up while the context lasts."""
        # No TaskGroup: it would wrap the error of who uses the connections in a group.
        keepers = [asyncio.create_task(self._keep_connected()) for _ in range(self._size)]
        try:
            yield
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def call(self, route: Route, arguments: Sequence[bytes | None]) -> Reply:
        """Call the route's function. Raises Problem.

        A Problem ``service_unavailable`` does not say whether the call was carried out: it may
        have been, when the connection broke before the answer came.
        """
        if len(self._waiting) >= self._queue:
            raise unavailable()
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(route, arguments, future, time.monotonic() + self._patience))
        self._wake_in(0)  # after the calls that arrive in the same turn of the loop
        return await future

    def _wake_in(self, delay: float) -> None:
        at = time.monotonic() + delay
        if self._wake and self._wake_at <= at:
            return
        if self._wake:
            self._wake.cancel()
        self._wake_at = at
        self._wake = asyncio.get_running_loop().call_later(delay, self._wake_up)

    def _wake_up(self) -> None:
        self._wake = None
        self._send_waiting()

    def _send_waiting(self) -> None:
        while (connection := self._choose()) and (calls := self._take()):
            self._send(connection, calls)
        if self._waiting:
            self._give_up()
            # A statement may stall, and another connection take its place.
            self._wake_in(STALLED_AFTER)

    def _give_up(self) -> None:
        """Refuse the calls that have waited too long; looks at most every STALLED_AFTER."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + STALLED_AFTER
        for call in [call for call in self._waiting if call.expires_at <= now]:
            self._waiting.remove(call)
            if not call.future.done():
                call.future.set_exception(unavailable())

    def _choose(self) -> _Connection | None:
        """An idle connection, unless as many as should be are at work."""
        since = time.monotonic() - STALLED_AFTER
        idle = None
        busy = 0
        for connection in self._connections:
            if not connection.calls:
                idle = connection
            elif connection.sent_at > since:
                busy += 1
        return idle if busy < self._busy else None

    def _take(self) -> list[_Call]:
        """The call that waits longest, and those that may go with it.

        While calls of a route are at work together, others of it gather: fewer and larger statements
        cost less. Calls of a user whose call to the same route is on its way would wait for its lock,
        and take every connection: they stay.
        """
        since = time.monotonic() - STALLED_AFTER
        at_work = {c.calls[0].route for c in self._connections if len(c.calls) > 1 and c.sent_at > since}
        on_their_way = {call.of_user for connection in self._connections for call in connection.calls}
        ready = [
            call
            for call in self._waiting
            if not call.of_user or (call.of_user not in on_their_way and (call.alone or call.route not in at_work))
        ]
        if not ready:
            return []
        first = ready[0]
        calls = [first]
        if first.route.serves_many and not first.alone:
            calls = [call for call in ready if call.route is first.route and not call.alone][:BATCH]
        if len(calls) == len(self._waiting):
            self._waiting.clear()
        else:
            for call in calls:
                self._waiting.remove(call)
        return calls

    def _send(self, connection: _Connection, calls: list[_Call]) -> None:
        route = calls[0].route
        name, statement, arguments = route.function, route.sql, calls[0].arguments
        if route.serves_many:
            arguments = [array_literal(values) for values in zip(*(c.arguments for c in calls), strict=True)]
        pgconn = connection.owner.pgconn
        connection.calls = calls
        connection.sent_at = time.monotonic()
        try:
            if connection.prepares:
                if name.encode() not in connection.prepared:
                    pgconn.send_prepare(name.encode(), statement.encode())
                    connection.prepared.add(name.encode())
                    connection.preparing = name.encode()
                pgconn.send_query_prepared(name.encode(), arguments)
            else:
                pgconn.send_query_params(statement.encode(), arguments)
            pgconn.pipeline_sync()
        except psycopg.Error:
            self._lose(connection)
            return
        self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        if connection.lost.done():
            return
        loop = asyncio.get_running_loop()
        try:
            unsent = connection.owner.pgconn.flush()
        except psycopg.Error:
            self._lose(connection)
            return
        if unsent:
            loop.add_writer(connection.descriptor, self._flush, connection)
        else:
            loop.remove_writer(connection.descriptor)

    def _receive(self, connection: _Connection) -> None:
        pgconn = connection.owner.pgconn
        try:
            pgconn.consume_input()
            ended = False
            while connection.calls and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None and ended:
                    # One None ends a statement's results; two in a row: there will be no more.
                    self._lose(connection)
                    break
                ended = result is None
                if result is None:
                    continue
                if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in _LAST_WORDS:
                    # The server hangs up now. Do not wait to see it: once the connection was
                    # reset, uvloop watches it no longer.
                    self._lose(connection)
                    break
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    self._finish(connection)
                elif connection.preparing:
                    if result.status != pq.ExecStatus.COMMAND_OK:
                        connection.prepared.discard(connection.preparing)
                        connection.result = result
                    connection.preparing = b""
                elif connection.result is None or connection.result.status == pq.ExecStatus.TUPLES_OK:
                    # The first error counts, also one after the rows: the commit comes last, and may fail.
                    connection.result = result
        except psycopg.Error:
            self._lose(connection)
        self._send_waiting()

    def _finish(self, connection: _Connection) -> None:
        calls, result = connection.calls, connection.result
        connection.calls, connection.result = [], None
        if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
            for row, call in enumerate(calls):
                if result.get_value(row, 0) is None and len(calls) > 1:
                    self._call_alone(call)
                elif not call.future.done():
                    call.future.set_result(_reply(result, row))
        elif len(calls) > 1:
            for call in reversed(calls):
                self._call_alone(call)
        elif not calls[0].future.done():
            calls[0].future.set_exception(_problem(calls[0].route, result))
        if result is not None and result.error_field(pq.DiagnosticField.SQLSTATE) in _START_AFRESH:
            self._lose(connection)

    def _call_alone(self, call: _Call) -> None:
        call.alone = True
        call.expires_at = time.monotonic() + self._patience
        self._waiting.appendleft(call)

    def _lose(self, connection: _Connection) -> None:
        """Give a connection up: whoever waits for an answer on it will not get one."""
        if connection.lost.done():
            return
        connection.lost.set_result(None)
        self._connections.remove(connection)
        loop = asyncio.get_running_loop()
        loop.remove_reader(connection.descriptor)
        loop.remove_writer(connection.descriptor)
        for call in connection.calls:
            if not call.future.done():
                call.future.set_exception(unavailable())
        connection.calls = []

    async def _keep_connected(self) -> None:
        delay, most = RETRY
        while True:
            try:
                owner = await psycopg.AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT,
                    application_name=f"mana-gateway {self.name}",
                    tcp_user_timeout=int(LOST_AFTER * 1000),
                    keepalives_idle=30,
                    keepalives_interval=5,
                    keepalives_count=2,
                )
            except (psycopg.Error, OSError) as error:
                _log.warning("database_unreachable", lane=self.name, error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, most)
                continue
            try:
                delay = RETRY[0]
                await self._serve(owner)
            except (psycopg.Error, OSError) as error:
                _log.warning("database_connection_failed", lane=self.name, error=type(error).__name__)
            finally:
                await owner.close()
            await asyncio.sleep(delay)

    async def _serve(self, owner: psycopg.AsyncConnection[Any]) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            prepares = await _keeps_statements(owner)
        owner.pgconn.nonblocking = 1
        owner.pgconn.enter_pipeline_mode()
        loop = asyncio.get_running_loop()
        connection = _Connection(owner, prepares, loop.create_future(), owner.pgconn.socket)
        self._connections.append(connection)
        try:
            loop.add_reader(connection.descriptor, self._receive, connection)
            self._send_waiting()
            while not connection.lost.done():
                await asyncio.wait([connection.lost], timeout=1)
                if not connection.lost.done():
                    self._receive(connection)  # uvloop does not say so when a connection was reset
                if connection.calls and time.monotonic() - connection.sent_at > LOST_AFTER:
                    _log.warning("database_silent", lane=self.name)
                    self._lose(connection)
        finally:
            self._lose(connection)


class Database:
    """The lanes of one worker: quick calls, and calls that hash a password."""

    def __init__(self, url: str, connections: int, password_connections: int) -> None:
        self.quick = Lane("quick", url, connections, busy=BUSY, queue=1000)
        self.password = Lane(
            "password", url, password_connections, password_connections, queue=100, patience=PASSWORD_QUEUED_FOR
        )

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All lanes."""
        return self.quick, self.password

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep all connections up while the context lasts."""
        async with self.quick.running(), self.password.running():
            yield

    async def call(self, route: Route, arguments: Sequence[bytes | None]) -> Reply:
        """Call the route's function with its parameters in order. Raises Problem."""
        lane = self.password if route.hashes_password else self.quick
        return await lane.call(route, arguments)


async def _keeps_statements(owner: psycopg.AsyncConnection[Any]) -> bool:
    """Whether what is prepared on this connection is there at the next transaction.

    Directly it is. A pooler that keeps track of statements (PgBouncer from 1.21 on, unless
    max_prepared_statements is 0) gives them names of its own; any other lets all its clients share
    what they prepared on its servers.
    """
    try:
        cursor = await owner.execute(_WHAT_IS_PREPARED, prepare=True)
    except psycopg.errors.DuplicatePreparedStatement:
        return False  # left there by whoever asked before
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - for the type checker
    backend_pid, names = row
    return backend_pid == owner.info.backend_pid or any(not name.startswith("_pg3_") for name in names)


def array_literal(values: Sequence[bytes | None]) -> bytes:
    """PostgreSQL's text form of an array; the type of its elements is the function's to know."""
    return b"{" + b",".join(b"NULL" if value is None else _quoted(value) for value in values) + b"}"


def _quoted(value: bytes) -> bytes:
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _reply(result: pq.abc.PGresult, row: int) -> Reply:
    status, body, headers, events = (result.get_value(row, column) for column in range(4))
    return Reply(
        int(status or 0), body or b"", msgspec.json.decode(headers) if headers else {}, (events or b"").decode()
    )


def _problem(route: Route, result: pq.abc.PGresult | None) -> Problem:
    """The error as the client sees it. PostgreSQL's own texts quote values: they stay here."""
    if result is None:
        return unavailable()
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    if state.startswith("PT"):
        code = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
        detail = (result.error_field(pq.DiagnosticField.MESSAGE_DETAIL) or b"").decode()
        return refusals.problem(code, detail)
    if state.startswith(_NOT_NOW):
        _log.warning("database_not_now", function=route.function, sqlstate=state)
        return unavailable()
    _log.error("database_error", function=route.function, sqlstate=state)
    return Problem("internal_error", "Something went wrong here. It has been logged.")
