"""Does a crowd of connections that never finish anything keep others out of the proxy?

The proxy has as much memory and as many files as docker-compose.yml gives it, where this account may limit memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from harness.proxies import DOMAIN, Traefik, stack_service
from proof.bounds import MEGABYTE, memory_of, peak

PATH = "/api/v1/credits/packages"
SOURCES = 100  # addresses that the crowd comes from
LARGE = 500_000  # bytes of a gateway's answer
CONNECTION = 220_000  # bytes that one may take of the proxy's memory
ATTEMPT = 5.0  # seconds that others wait

_HEAD = f" {PATH} HTTP/1.1\r\nHost: {DOMAIN}\r\n".encode()


def _hello() -> bytes:
    """What a client says first in TLS."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname=DOMAIN)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


def _streams(count: int, body: int = 0) -> bytes:
    """The beginning of HTTP/2 by a client that asks much at once and does not let the server answer."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    no_window = b"\0\4" + bytes(4)
    get = b"\x82\x87" + b"".join(
        name + bytes([len(value)]) + value.encode() for name, value in ((b"\4", PATH), (b"\1", DOMAIN))
    )
    requests = (frame(1, 4 if body else 5, 2 * number + 1, get) for number in range(count))
    data = (frame(0, 0, 1, bytes(10_000)) for _ in range(body // 10_000))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, no_window) + b"".join((*requests, *data))


@dataclass(frozen=True)
class Kind:
    """A way not to finish: what is sent, after TLS or in plain text to one of the two ports."""

    sent: bytes
    tls: bool = True
    asks: bool = False  # a gateway, which takes the proxy another connection
    port: Callable[[Traefik], int] = lambda proxy: proxy.port


_PLAIN: Callable[[Traefik], int] = lambda proxy: proxy.http  # noqa: E731

# The largest head that is not refused: 4096 bytes, and as many that Go adds.
KINDS = {
    "nothing": Kind(b"", tls=False),
    "half of a hello": Kind(_hello()[:200], tls=False),
    "a hello": Kind(_hello(), tls=False),
    "TLS": Kind(b""),
    "one long field": Kind(b"GET" + _HEAD + b"X: " + b"x" * 8000),
    "many short fields": Kind(b"GET" + _HEAD + b"".join(b"%x:\r\n" % number for number in range(1400))[:8000]),
    "a part of a body": Kind(b"POST" + _HEAD + b"Content-Length: 60000\r\n\r\n" + b"x" * 30000, asks=True),
    "unread answers": Kind(b"GET" + _HEAD + b"\r\n", asks=True),
    "a head of a megabyte": Kind(b"GET" + _HEAD + b"X: " + b"x" * 2**20),
    "HTTP/2": Kind(_streams(100)),
    "plain, nothing": Kind(b"", tls=False, port=_PLAIN),
    "plain, a head of a megabyte": Kind(b"GET" + _HEAD + b"X: " + b"x" * 2**20, tls=False, port=_PLAIN),
    "plain, many short fields": Kind(
        b"GET" + _HEAD + b"".join(b"%x:\r\n" % number for number in range(1400))[:8000], tls=False, port=_PLAIN
    ),
    "plain, HTTP/2": Kind(_streams(100), tls=False, port=_PLAIN),
    "plain, HTTP/2 with a body": Kind(_streams(1, 60_000), tls=False, port=_PLAIN),
}


@dataclass
class Report:
    """What a crowd cost."""

    kind: str
    connections: int  # that were opened
    memory: int = 0  # bytes: the peak of the process
    grown: int = 0  # bytes: by how much, for each connection
    alive: bool = True
    seconds: list[float] = field(default_factory=list)  # of calls of others
    statuses: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        median = statistics.median(self.seconds) * 1000 if self.seconds else float("nan")
        return (
            f"{self.kind}: {self.connections} connections, {self.memory / MEGABYTE:.0f} MB,"
            f" {self.grown / 1000:.0f} KB each, others {dict(self.statuses)} in {median:.0f} ms"
            f"{'' if self.alive else ', DEAD'}"
        )

    def problems(self) -> list[str]:
        found = [] if self.alive else [f"{self.kind}: the proxy died"]
        if self.grown > CONNECTION:
            found.append(f"{self.kind}: {self.grown} bytes for each connection")
        if set(self.statuses) != {"200"}:
            found.append(f"{self.kind}: others were answered {dict(self.statuses)}")
        return found


@contextlib.asynccontextmanager
async def proxy_before(answer: bytes) -> AsyncIterator[Traefik]:
    """The proxy, before two servers that answer each request with this body."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = b"ok" if head.startswith(b"GET /health") else answer
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()

    servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(2)]
    proxy = Traefik([f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers])
    await asyncio.to_thread(proxy.__enter__)
    try:
        yield proxy
    finally:
        proxy.__exit__()
        for server in servers:
            server.close()


async def gather(proxy: Traefik, kind: Kind, count: int) -> list[asyncio.StreamWriter]:
    """Open so many connections that do not finish. Those that the proxy refuses are not among the result."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2", "http/1.1"])

    async def one(number: int) -> asyncio.StreamWriter | None:
        security = {"ssl": tls, "server_hostname": DOMAIN} if kind.tls else {}
        source = (f"127.1.{number % SOURCES // 250}.{number % SOURCES % 250 + 1}", 0)
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", kind.port(proxy), local_addr=source, **security
                )
        except (OSError, TimeoutError):
            return None
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(kind.sent)
        return writer

    opened: list[asyncio.StreamWriter] = []
    for start in range(0, count, 100):
        found = await asyncio.gather(*(one(number) for number in range(start, min(start + 100, count))))
        opened += [writer for writer in found if writer]
    return opened


async def others(proxy: Traefik, seconds: float, report: Report) -> None:
    """Ask as other clients do: each tenth time over a new connection, else over one that is there."""
    async with proxy.client("127.2.0.1") as known:
        ends, number = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            async with contextlib.AsyncExitStack() as stack:
                client = known if number % 10 else await stack.enter_async_context(proxy.client("127.2.0.2"))
                started = time.monotonic()
                try:
                    async with asyncio.timeout(ATTEMPT):
                        status = str((await client.get(PATH)).status)
                except (OSError, TimeoutError) as error:
                    status = type(error).__name__
                report.statuses[status] += 1
                report.seconds.append(time.monotonic() - started)
            number += 1
            await asyncio.sleep(0.1)


async def run(kind: str, count: int, seconds: float) -> Report:
    """One crowd, and what others see of the proxy meanwhile."""
    answer = b"x" * LARGE if kind == "unread answers" else b"ok"
    async with proxy_before(answer) as proxy:
        assert proxy.process
        pid = proxy.process.pid
        limit = int(stack_service()["mem_limit"].removesuffix("g")) * 1024 * MEGABYTE
        with memory_of("proxy", [pid], limit):
            before = peak(pid)
            opened = await gather(proxy, KINDS[kind], count)
            report = Report(kind, len(opened))
            await asyncio.sleep(3)  # the servers are in this process, and may have missed a health check
            await others(proxy, seconds, report)
            report.alive = proxy.process.poll() is None
            report.memory = peak(pid)
            report.grown = (report.memory - before) // max(1, count)
            for writer in opened:
                writer.transport.abort()
    return report


def soak(count: int, seconds: float, kinds: Sequence[str], show: Callable[[str], None]) -> list[str]:
    """Each crowd in turn. Returns what did not hold."""
    problems = []
    for kind in kinds or KINDS:
        report = asyncio.run(run(kind, count // 2 if KINDS[kind].asks else count, seconds))
        show(str(report))
        problems += report.problems()
    return problems
