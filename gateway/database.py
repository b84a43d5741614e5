"""The one thing that talks to PostgreSQL: a call of one SQL function, in its own transaction.

Connections are libpq's, in pipeline mode: several calls are on their way at once, and a sync after
each makes it a transaction of its own that fails alone. Calls that hash a password have a lane of
their own, so that a flood of logins waits for itself and nobody else.
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

from gateway.problems import FieldError, Problem, invalid_request, unavailable
from gateway.routes import Route

QUEUED_FOR = 1.0  # seconds that a call may wait to be sent
STALLED_AFTER = 0.05  # seconds without an answer after which a connection gets no further calls
LOST_AFTER = 8.0  # seconds without an answer after which it is given up; above statement_timeout
RETRY = (0.05, 1.0)  # seconds between attempts to connect: the first, and the most
CONNECT_TIMEOUT = 3  # seconds

# Classes of SQLSTATE that say "not now": lost connection, rollback by concurrency, resources,
# operator intervention (a timeout is one), lock not available.
_NOT_NOW = ("08", "40", "53", "57", "55P03")

# Severities after which the server ends the connection.
_LAST_WORDS = (b"FATAL", b"PANIC")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the function answered: the finished JSON text, and headers for the client."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True, eq=False)
class _Call:
    route: Route
    arguments: Sequence[bytes | None]
    future: asyncio.Future[Reply]
    sent_at: float = 0.0
    prepares: bool = False
    result: pq.abc.PGresult | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection in pipeline mode and the calls that are on their way over it, oldest first."""

    owner: psycopg.AsyncConnection[Any]
    depth: int
    prepares: bool
    lost: asyncio.Future[None]
    descriptor: int  # of the socket; libpq forgets it when the connection breaks
    in_flight: deque[_Call] = field(default_factory=deque)
    prepared: set[Route] = field(default_factory=set)
    flushing: bool = False

    def room(self, now: float) -> bool:
        calls = self.in_flight
        return len(calls) < self.depth and (not calls or now - calls[0].sent_at < STALLED_AFTER)


class Lane:
    """A queue of calls and the connections that serve it.

    ``size`` connections carry up to ``depth`` calls each; at most ``queue`` more wait, for at most
    QUEUED_FOR seconds. A pooler that hands each transaction to another server process has none
    of our prepared statements and gets one call at a time.
    """

    def __init__(self, name: str, url: str, size: int, depth: int, queue: int) -> None:
        self.name = name
        self._url = url
        self._size = size
        self._depth = depth
        self._queue = queue
        self._waiting: deque[_Call] = deque()
        self._connections: list[_Connection] = []

    @property
    def waiting(self) -> int:
        """Calls that wait to be sent."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Calls that were sent and have no answer yet."""
        return sum(len(connection.in_flight) for connection in self._connections)

    @property
    def connections(self) -> int:
        """Connections that are up."""
        return len(self._connections)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connections up while the context lasts."""
        async with asyncio.TaskGroup() as tasks:
            keepers = [tasks.create_task(self._keep_connected()) for _ in range(self._size)]
            try:
                yield
            finally:
                for keeper in keepers:
                    keeper.cancel()

    async def call(self, route: Route, arguments: Sequence[bytes | None]) -> Reply:
        """Call the route's function. Raises Problem.

        A Problem ``service_unavailable`` does not say whether the call was carried out: it may
        have been, when the connection broke before the answer came.
        """
        loop = asyncio.get_running_loop()
        call = _Call(route, arguments, loop.create_future())
        connection = self._choose()
        if connection:
            self._send(connection, call)
        elif len(self._waiting) >= self._queue:
            raise unavailable()
        else:
            call.timer = loop.call_later(QUEUED_FOR, self._give_up, call)
            self._waiting.append(call)
        return await call.future

    def _choose(self) -> _Connection | None:
        now = time.monotonic()
        ready = [connection for connection in self._connections if connection.room(now)]
        return min(ready, key=lambda connection: len(connection.in_flight), default=None)

    def _give_up(self, call: _Call) -> None:
        self._waiting.remove(call)
        if not call.future.done():
            call.future.set_exception(unavailable())

    def _send_waiting(self) -> None:
        while self._waiting and (connection := self._choose()):
            call = self._waiting.popleft()
            if call.timer:
                call.timer.cancel()
            if not call.future.done():
                self._send(connection, call)

    def _send(self, connection: _Connection, call: _Call) -> None:
        pgconn = connection.owner.pgconn
        name = call.route.function.encode()
        try:
            if not connection.prepares:
                pgconn.send_query_params(call.route.sql.encode(), call.arguments)
            else:
                if call.route not in connection.prepared:
                    pgconn.send_prepare(name, call.route.sql.encode())
                    connection.prepared.add(call.route)
                    call.prepares = True
                pgconn.send_query_prepared(name, call.arguments)
            pgconn.pipeline_sync()
        except psycopg.Error:
            self._lose(connection)
            call.future.set_exception(unavailable())
            return
        call.sent_at = time.monotonic()
        connection.in_flight.append(call)
        if not connection.flushing:
            # Calls of one turn of the loop go out together.
            connection.flushing = True
            asyncio.get_running_loop().call_soon(self._flush, connection)

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
            connection.flushing = False

    def _receive(self, connection: _Connection) -> None:
        pgconn = connection.owner.pgconn
        try:
            pgconn.consume_input()
            ended = False
            while connection.in_flight and not pgconn.is_busy():
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
                call = connection.in_flight[0]
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    connection.in_flight.popleft()
                    self._finish(connection, call)
                elif call.prepares:
                    call.prepares = False
                    if result.status != pq.ExecStatus.COMMAND_OK:
                        connection.prepared.discard(call.route)
                        call.result = result
                elif call.result is None:  # the first error is the one that counts
                    call.result = result
        except psycopg.Error:
            self._lose(connection)
        self._send_waiting()

    def _finish(self, connection: _Connection, call: _Call) -> None:
        result = call.result
        if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
            if not call.future.done():
                call.future.set_result(_reply(result))
            return
        if not call.future.done():
            call.future.set_exception(_problem(call.route, result))

    def _lose(self, connection: _Connection) -> None:
        """Give a connection up: whoever waits for an answer on it will not get one."""
        if connection.lost.done():
            return
        connection.lost.set_result(None)
        self._connections.remove(connection)
        loop = asyncio.get_running_loop()
        loop.remove_reader(connection.descriptor)
        loop.remove_writer(connection.descriptor)
        for call in connection.in_flight:
            if not call.future.done():
                call.future.set_exception(unavailable())
        connection.in_flight.clear()

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
                )
            except (psycopg.Error, OSError) as error:
                _log.warning("database_unreachable", lane=self.name, error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, most)
                continue
            try:
                delay = RETRY[0]
                await self._serve(owner)
            except psycopg.Error as error:
                _log.warning("database_connection_failed", lane=self.name, error=type(error).__name__)
                await asyncio.sleep(delay)
            finally:
                await owner.close()

    async def _serve(self, owner: psycopg.AsyncConnection[Any]) -> None:
        direct = await _is_direct(owner)
        owner.pgconn.nonblocking = 1
        owner.pgconn.enter_pipeline_mode()
        loop = asyncio.get_running_loop()
        connection = _Connection(owner, self._depth if direct else 1, direct, loop.create_future(), owner.pgconn.socket)
        self._connections.append(connection)
        loop.add_reader(connection.descriptor, self._receive, connection)
        self._send_waiting()
        try:
            while not connection.lost.done():
                await asyncio.wait([connection.lost], timeout=1)
                calls = connection.in_flight
                if calls and time.monotonic() - calls[0].sent_at > LOST_AFTER:
                    _log.warning("database_silent", lane=self.name)
                    self._lose(connection)
        finally:
            self._lose(connection)


class Database:
    """The lanes of one worker: quick calls, and calls that hash a password."""

    def __init__(self, url: str, connections: int, password_connections: int) -> None:
        self.quick = Lane("quick", url, connections, depth=8, queue=1000)
        self.password = Lane("password", url, password_connections, depth=1, queue=100)

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


async def _is_direct(owner: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the process that answers is the one we connected to, and no pooler between."""
    row = await (await owner.execute("select pg_backend_pid()", prepare=False)).fetchone()
    return row is not None and row[0] == owner.info.backend_pid


def _reply(result: pq.abc.PGresult) -> Reply:
    status, body, headers = (result.get_value(0, column) for column in range(3))
    return Reply(int(status or 0), body or b"", msgspec.json.decode(headers) if headers else {})


def _problem(route: Route, result: pq.abc.PGresult | None) -> Problem:
    """The error as the client sees it. PostgreSQL's own texts quote values: they stay here."""
    if result is None:
        return unavailable()
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    if state.startswith("PT"):
        code = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
        detail = (result.error_field(pq.DiagnosticField.MESSAGE_DETAIL) or b"").decode()
        if code == "invalid_request":
            name, _, message = detail.partition(": ")
            return invalid_request(FieldError(name, message))
        return Problem(code, detail)
    if state.startswith(_NOT_NOW):
        _log.warning("database_not_now", function=route.function, sqlstate=state)
        return unavailable()
    _log.error("database_error", function=route.function, sqlstate=state)
    return Problem("internal_error", "Something went wrong here. It has been logged.")
