"""How a worker speaks HTTP/1.1 to clients: how long they may take to ask and to read, and how many may be connected."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from gateway.http import responses
from gateway.http.metrics import Metrics
from gateway.http.services import SERVICES

HEAD_ARRIVES_WITHIN = 10.0  # seconds: the line and the headers of a request
MAX_HEAD = 64 * 1024  # bytes of them
IDLE_FOR = 75.0  # seconds between two requests
MAX_CONNECTIONS = 4096  # of one worker: an idle one takes about 30 KB
READS = (64 * 1024, 10.0)  # bytes of a response that a client takes at least, and the seconds it has for them
UNSENT_FROM = 16 * 1024  # bytes of a response that wait for the client, from which on they count
MAX_UNSENT = 64 * 2**20  # bytes that wait in a worker for clients to read them
SPARE_FILES = 256  # for everything but clients: the database, Redis, keys, and a burst of connections


@dataclass(frozen=True, slots=True)
class Room:
    """How many files the process may open, now and at first, and how many clients that lets in."""

    before: int
    files: int
    connections: int


def raise_file_limit() -> Room:
    """Let this process, and those it starts, open as many files as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = 2**20 if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    except (OSError, ValueError):  # a system with a limit besides this one
        allowed = soft
    return Room(soft, allowed, min(MAX_CONNECTIONS, allowed - min(SPARE_FILES, allowed // 2)))


class Protocol(web.RequestHandler):
    """One connection. Malformed HTTP is answered with a problem, where aiohttp would quote it in plain text."""

    __slots__ = ("_head_bytes", "_head_due", "_read_due", "unsent")

    _manager: Server | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._head_bytes = 0
        self._head_due: asyncio.TimerHandle | None = self._loop.call_later(HEAD_ARRIVES_WITHIN, self._drop, "late")
        self._read_due: asyncio.TimerHandle | None = None
        self.unsent = 0
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=UNSENT_FROM)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        waits, requests = self.waits, self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._head_bytes = 0
            self._stop_waiting()
        elif waits:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._drop("too_large")
            elif self._head_due is None:
                self._head_due = self._loop.call_later(HEAD_ARRIVES_WITHIN, self._drop, "late")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        self._stop_counting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when a response waits for the client to read it. Until it has, no other is sent."""
        super().pause_writing()
        if self.transport and self._manager:
            self._manager.count_unsent(self, self.transport.get_write_buffer_size())
            self._read_due = self._loop.call_later(READS[1], self._expect_less, self.unsent)

    def resume_writing(self) -> None:
        """Called when the client has read most of it."""
        self._stop_counting()
        super().resume_writing()

    def _expect_less(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size() if self.transport else 0
        if unsent > before - READS[0]:
            self._drop("unread")
        else:
            self._read_due = self._loop.call_later(READS[1], self._expect_less, unsent)

    def _stop_counting(self) -> None:
        if self._read_due:
            self._read_due.cancel()
            self._read_due = None
        if self._manager:
            self._manager.count_unsent(self, 0)

    @property
    def waits(self) -> bool:
        """Whether it waits for a request, or for the rest of its head."""
        if self._force_close:
            return False
        return self._request_count == 0 or (self._waiter is not None and not self._waiter.done())

    def make_room(self, reason: str = "crowded") -> None:
        """Close the connection: another one needs its place, or its memory."""
        self._drop(reason)

    def _drop(self, reason: str) -> None:
        self._stop_waiting()
        self._stop_counting()
        if self._manager:
            self._manager.metrics.dropped.labels(reason).inc()
        transport = self.transport
        self.force_close()
        if transport and transport.get_write_buffer_size():
            transport.abort()  # or it would wait until all is read

    def _stop_waiting(self) -> None:
        if self._head_due:
            self._head_due.cancel()
            self._head_due = None

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends the response. An error of aiohttp's own that no middleware sees (417) has the form of all others."""
        if isinstance(resp, web.HTTPException) and isinstance(request, web.Request):
            resp = responses.error_response(request, resp, time.perf_counter())
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way") from exc
        response = responses.refusal(status)
        response.force_close()
        return response


class Server(web.Server):
    """All connections of a worker. If there are too many, the one that has waited longest makes room.

    If too many bytes wait for clients to read them, the one for which some have waited longest makes room.
    """

    metrics: Metrics
    most: int
    unsent: dict[Protocol, None]  # in the order of their last pause
    unsent_bytes: int

    def __call__(self) -> web.RequestHandler:
        return Protocol(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.metrics.open_connections.inc()
        if len(self._connections) > self.most:
            oldest = (known for known in self._connections if isinstance(known, Protocol) and known.waits)
            if found := next(oldest, None):
                found.make_room()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.metrics.open_connections.dec()

    def count_unsent(self, connection: Protocol, size: int) -> None:
        """Know how many bytes wait for this client."""
        self.unsent.pop(connection, None)
        self.unsent_bytes += size - connection.unsent
        connection.unsent = size
        if size:
            self.unsent[connection] = None
        while self.unsent_bytes > MAX_UNSENT:
            next(iter(self.unsent)).make_room("unread")


class Runner(web.AppRunner):
    """aiohttp has no public way to choose the protocol: the server that it makes is turned into ours."""

    def __init__(self, app: web.Application, room: Room, shutdown_timeout: float) -> None:
        super().__init__(
            app,
            access_log=None,
            shutdown_timeout=shutdown_timeout,
            auto_decompress=False,
            max_field_size=16 * 1024,  # a token of MAX_LENGTH and its scheme must fit
            keepalive_timeout=IDLE_FOR,
        )
        self._room = room

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = Server
        ours = cast("Server", server)
        ours.metrics, ours.most = self.app[SERVICES].metrics, self._room.connections
        ours.unsent, ours.unsent_bytes = {}, 0
        return ours
