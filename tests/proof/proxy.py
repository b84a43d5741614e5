"""A TCP proxy between two parts that breaks connections on order.

Toxiproxy cannot look into what passes, and the one place where a cut hurts most is between
PostgreSQL's COMMIT and the answer: here, an answer of PostgreSQL is held until its ReadyForQuery has
come, and with it the certainty that the statement has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit, urlunsplit

READY_FOR_QUERY, DATA_ROW, AUTHENTICATION, ERROR = b"Z", b"D", b"R", b"E"
# The row of a spend that is no replay: over HTTP, and in SQL, where ``replayed`` is the last column.
_SPENT = re.compile(rb'"newBalance"(?!.*"Idempotency-Replayed")|\x00\x00\x00\x01f\Z', re.DOTALL)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: unsent data is thrown away and the peer gets a reset


class Way(StrEnum):
    """A direction, as the client of the connection sees it."""

    REQUEST = "request"
    ANSWER = "answer"


class Kind(StrEnum):
    """What happens to a connection."""

    CUT = "cut"  # both sides are reset
    CLOSE = "close"  # both sides see an orderly end
    HALF_CLOSE = "half-close"  # the receiver sees an end; its own words still get through
    DROP = "drop"  # nothing gets through any more, and after a while both sides are reset
    DELAY = "delay"  # what passes now passes late


@dataclass(eq=False)
class Fault:
    """Strikes what passes next in its direction, of which ``part``, less than all, is still delivered."""

    kind: Kind
    way: Way
    part: float = 0.0
    seconds: float = 0.0  # of DROP and DELAY
    containing: bytes = b""  # what passes without this is spared
    times: int = 1  # or with it less often
    struck: asyncio.Event = field(default_factory=asyncio.Event)

    def strikes(self, chunk: bytes) -> bool:
        return chunk.count(self.containing) >= self.times


class Proxy:
    """Listens on a port of its own and passes on to ``port``, both on 127.0.0.1.

    ``committed`` counts cuts between PostgreSQL's COMMIT and its answer: an answer was lost, all or a
    part of it, by which a transaction had ended without an error or a rollback, and in that transaction
    a spend was made. The answer is that to COMMIT, or to a statement that was a transaction of its own.
    What else was written is not counted, as the answers do not show it.
    """

    def __init__(self, port: int, *, postgres: bool = False) -> None:
        self.upstream = port
        self.port = 0
        self.latency = 0.0  # seconds, of everything that passes
        self.committed = 0
        self._postgres = postgres
        self._faults: deque[Fault] = deque()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        while self._tasks:
            self.reset()
            await asyncio.wait(self._tasks, timeout=0.1)

    def url(self, url: str) -> str:
        """The same URL by way of this proxy."""
        parts = urlsplit(url)
        userinfo, at, _ = parts.netloc.rpartition("@")
        query = "sslmode=disable" if self._postgres else parts.query  # its offer of TLS is no message
        return urlunsplit(parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{self.port}", query=query))

    def order(self, fault: Fault) -> Fault:
        """Let a fault strike, after those that were ordered before."""
        self._faults.append(fault)
        return fault

    def withdraw(self) -> None:
        """No more faults."""
        self._faults.clear()
        self.latency = 0.0

    def reset(self) -> None:
        """Reset every connection, now."""
        for pair in list(self._pairs):
            pair.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, to_server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pass(Way.REQUEST, pair, reader, to_server), self._pass(Way.ANSWER, pair, from_server, writer)
            )
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _pass(self, way: Way, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._postgres and way is Way.ANSWER:
                await self._pass_messages(pair, reader, writer)
            else:
                while chunk := await reader.read(65536):
                    await self._deliver(way, pair, chunk, writer)
            pair.end(writer)
        except OSError:
            pair.reset()

    async def _pass_messages(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Whole messages of PostgreSQL; those of an answer that a fault is meant for, all at once."""
        held, spent, failed = b"", False, False
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                header = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(header[1:], "big") - 4)
                held += header + body
                kind = header[:1]
                spent |= kind == DATA_ROW and bool(_SPENT.search(body))
                failed |= kind == ERROR or body == b"ROLLBACK\0"
                if kind == READY_FOR_QUERY:
                    lost = await self._deliver(Way.ANSWER, pair, held, writer)
                    held = b""
                    if body == b"I":  # outside of a transaction
                        self.committed += lost and spent and not failed
                        spent = failed = False
                elif kind == AUTHENTICATION or not self._expects(Way.ANSWER):
                    await pair.write(held, writer)
                    held = b""
        await pair.write(held, writer)

    def _expects(self, way: Way) -> bool:
        return bool(self._faults) and self._faults[0].way is way

    async def _deliver(self, way: Way, pair: _Pair, chunk: bytes, writer: asyncio.StreamWriter) -> bool:
        """Pass on, with the fault that is due. Whether some of it was taken away."""
        if self.latency:
            await asyncio.sleep(self.latency)
        if pair.silent or not self._expects(way) or not self._faults[0].strikes(chunk):
            await pair.write(chunk, writer)
            return False
        fault = self._faults.popleft()
        fault.struck.set()
        if fault.kind is Kind.DELAY:
            await asyncio.sleep(fault.seconds)
            await pair.write(chunk, writer)
            return False
        await pair.write(chunk[: int(len(chunk) * fault.part)], writer)
        match fault.kind:
            case Kind.CUT:
                pair.reset()
            case Kind.CLOSE:
                pair.close()
            case Kind.HALF_CLOSE:
                pair.end(writer)
            case Kind.DROP:
                pair.silent = True
                asyncio.get_running_loop().call_later(fault.seconds, pair.reset)
        return True


class _Pair:
    """The two connections of one client: its own, and the one to the server."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self._ended: set[asyncio.StreamWriter] = set()
        self.silent = False

    async def write(self, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        if chunk and not self.silent and writer not in self._ended and not writer.is_closing():
            writer.write(chunk)
            await writer.drain()

    def end(self, writer: asyncio.StreamWriter) -> None:
        """Nothing more will come that way."""
        if not self.silent and writer not in self._ended and not writer.is_closing():
            self._ended.add(writer)
            writer.write_eof()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        for writer in self._writers:
            if not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
