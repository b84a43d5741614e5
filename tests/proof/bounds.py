"""Is work bounded? The worst data that a user may have, the worst request of each door, and what it costs.

Gateway and PostgreSQL get as much memory as docker-compose.yml gives them, where this account may limit it. The
long form writes deploy/BOUNDS.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import stripe

from gateway.api.table import ROUTES
from gateway.http.bodies import MAX_SIGNED
from harness.clients import PASSWORD, Reply, Service, Session
from harness.databases import Cluster, Database
from harness.doors import backend_login
from harness.gateways import PAYMENTS, Gateway
from harness.places import ROOT

MEGABYTE = 2**20
GATEWAY_MEMORY, SERVER_MEMORY = 512 * MEGABYTE, 2048 * MEGABYTE  # bytes, as docker-compose.yml has them
LARGEST = 1_600_000  # bytes of an answer
LONGEST = 1.0  # seconds of a route, on a machine that does nothing else
LONGEST_IN_SQL = 3.0  # seconds: PostgreSQL reads six megabytes of numbers before any function of ours can refuse them
OTHERS = 0.1  # seconds that calls of other users take at the median
DOCUMENT = ROOT / "deploy" / "BOUNDS.md"

# What an earlier release took: 64 KB that PostgreSQL writes as 990 KB and as 3.3 MB.
LONG, TOO_LONG = ('{"a":[' + ",".join(["1e308"] * times) + "]}" for times in (3_200, 10_700))

_UNBOUNDED = "alter table credits.transactions drop constraint transactions_metadata_is_bounded"

_OLD = """
insert into credits.transactions (
    user_id, id, type, amount, balance_before, balance_after, free_after, total_spent_after, version, app_id,
    description, metadata, created_at, completed_at
)
select %(user)s, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'usage', -1, 1, 0, 0, 1, 1000000 + n,
       'tests', repeat(chr(128512), 500), case when n %% 2 = 0 then %(long)s::jsonb else %(too_long)s::jsonb end,
       now(), now()
  from generate_series(1, 200) as n
"""

_MANY = """
insert into credits.transactions (
    user_id, id, type, amount, balance_before, balance_after, free_after, total_spent_after, version, app_id,
    description, metadata, created_at, completed_at
)
select %(user)s, ('00000000-0000-7000-8001-' || lpad(to_hex(n), 12, '0'))::uuid, 'usage', -1, 1, 0, 0, 1, 2000000 + n,
       'tests', 'One of many', null, now(), now()
  from generate_series(1, %(many)s) as n
"""

_PURCHASES = """
insert into credits.purchases (
    user_id, id, package_id, credits, price_euro_cents, stripe_payment_intent_id, created_at
)
select %(user)s, gen_random_uuid(), (select id from credits.packages limit 1), 1000000000, 2147483647,
       lpad(n::text, 255, 'p'), now()
  from generate_series(1, 1200) as n
"""


@dataclass(frozen=True)
class Bound:
    """What the worst input of a door cost."""

    door: str
    answer: int  # bytes
    seconds: float
    gateway: int  # bytes: the peak of the process
    server: int  # bytes: the peak of one process of the server, with the shared memory that it touched

    def row(self) -> str:
        gateway = f"{self.gateway / MEGABYTE:.0f} MB" if self.gateway else ""
        cells = (f"{self.answer / 1000:.1f} KB", f"{self.seconds * 1000:.0f} ms", gateway)
        return f"| `{self.door}` | {' | '.join(cells)} | {self.server / MEGABYTE:.0f} MB |"


@dataclass(frozen=True)
class Report:
    """The table, and what happened to others meanwhile."""

    bounds: Sequence[Bound]
    others: float  # seconds: the median of their calls while the worst user did all that at once
    statuses: dict[int, int]  # how others were answered
    gateway: int  # bytes: the peak of the process in all
    limited: bool  # whether memory was

    def problems(self, slack: float = 1.0) -> list[str]:
        """Each bound that did not hold."""
        found = [f"{bound.door}: {bound.answer} bytes" for bound in self.bounds if bound.answer > LARGEST]
        for bound in self.bounds:
            if bound.seconds > (LONGEST if bound.gateway else LONGEST_IN_SQL) * slack:
                found.append(f"{bound.door}: {bound.seconds:.1f} s")
        if self.others > OTHERS * slack:
            found.append(f"calls of others took {self.others:.3f} s")
        if set(self.statuses) != {200}:
            found.append(f"others were answered {self.statuses}")
        if self.gateway > GATEWAY_MEMORY:
            found.append(f"the gateway took {self.gateway / MEGABYTE:.0f} MB")
        return found


@contextlib.contextmanager
def memory_of(name: str, pids: Sequence[int], limit: int) -> Iterator[bool]:
    """Limit the memory of processes and of those that they start, as Docker does. Tells whether that was possible."""
    root = Path("/sys/fs/cgroup")
    old = root / "memory" / "cgroup.procs"
    group = (root / "memory" if old.exists() else root) / f"mana-{name}-{secrets.token_hex(4)}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old.exists() else "memory.max")).write_text(str(limit))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # a child that has ended
                (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        yield False
        return
    try:
        yield True
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):
            group.rmdir()


def _forget_peak(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> int:
    """The most memory that a process has had since ``_forget_peak``; 0 if that is not shown to us."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _postmaster(database: Database) -> list[int]:
    """The server's processes."""
    [(directory,)] = database.query("show data_directory")
    pid = int((Path(directory) / "postmaster.pid").read_text().split("\n")[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


async def worst_user(database: Database, service: Service, many: int) -> Session:
    """Somebody whose data are as large as any release let them become."""
    user = await service.new_session()
    database.give_credits(user.user_id, paid=10**9)
    with database.connect() as connection:
        connection.execute(_UNBOUNDED)
        connection.execute(_OLD, {"user": user.user_id, "long": LONG, "too_long": TOO_LONG})
        connection.execute(_MANY, {"user": user.user_id, "many": many})
        connection.execute(_PURCHASES, {"user": user.user_id})
        connection.execute("vacuum analyze credits.transactions")
    for number in range(100):
        assert (await _spend(user, f"{number}")).status == 200
    return user


async def _spend(user: Session, key: str) -> Reply:
    """The largest spend that is allowed."""
    return await user.post(
        "/api/v1/credits/use",
        {
            "amount": 1, "appId": "a" * 100, "description": "\U0001f600" * 500,
            "idempotencyKey": key.ljust(255, "k"), "metadata": {"a": "x" * 4087},
        },
    )  # fmt: skip


def worst_requests(service: Service, user: Session) -> dict[str, list[Callable[[], Awaitable[Reply]]]]:
    """For each function that a route calls, the requests that cost most."""
    of_most = "m" * 240 + "@example.com"
    page, purchase = "/api/v1/credits/transactions", "/api/v1/credits/purchase"
    headers = {"User-Agent": "u" * 8000}
    return {
        "register_user": [lambda: service.register(password="p" * 128, name="\U0001f600" * 100)],
        "log_in": [
            lambda: service.login(of_most, "p" * 128),
            lambda: service.login(user.email, PASSWORD, deviceId="d" * 255),
        ],
        "refresh_session": [lambda: service.refresh("r" * 4000)],
        "log_out": [lambda: service.post("/api/v1/auth/logout", {"refreshToken": "r" * 4000})],
        "validate": [lambda: service.post("/api/v1/auth/validate", {"token": user.access_token})],
        "get_balance": [lambda: user.get("/api/v1/credits/balance", headers=headers)],
        "use_credits": [lambda: _spend(user, secrets.token_hex(8)), lambda: _spend(user, "1")],
        "list_transactions": [
            lambda: user.get(f"{page}?limit=100"),
            lambda: user.get(f"{page}?limit=100&before=00000000-0000-7000-8001-000000000000"),
            lambda: user.get(f"{page}?limit=100&offset=10000"),
            lambda: user.get(f"{page}?limit=100&type=refund"),
            lambda: user.get(f"{page}?limit=100&appId={'n' * 100}&offset=10000"),
        ],
        "list_purchases": [lambda: user.get("/api/v1/credits/purchases")],
        "list_packages": [lambda: service.get("/api/v1/credits/packages")],
        # The payment provider does not answer; what it does is reached by a purchase that is there.
        "start_purchase": [lambda: _start_purchase(user)],
        "get_purchase": [lambda: user.get(f"{purchase}/{uuid.UUID(int=1)}", headers=headers)],
        "return_from_checkout": [
            lambda: service.get(f"{purchase}/{uuid.UUID(int=1)}/return?userId={user.user_id}&sessionId={'s' * 255}")
        ],
        "start_refund": [lambda: user.post(f"{purchase}s/{uuid.UUID(int=1)}/refund")],
        "get_customer": [lambda: user.post("/api/v1/credits/portal", {"returnUrl": "https://a.b/" + "p" * 2000})],
        "receive_event": [lambda: _news(service)],
    }


async def _start_purchase(user: Session) -> Reply:
    package = (await user.get("/api/v1/credits/packages")).body[0]["id"]
    address = "https://app.example.com/" + "p" * 1900
    return await user.post(
        "/api/v1/credits/purchase", {"packageId": package, "successUrl": address, "cancelUrl": address}
    )


async def _news(service: Service) -> Reply:
    """As long as a body may be that is signed."""
    text = '{"id": "evt_%s", "type": "charge.refunded", "created": 1, "data": {"object": {"id": "%s"}}}'
    body = text % (secrets.token_hex(8), "c" * (MAX_SIGNED - 120))
    signature = stripe.WebhookSignature.generate_signature_header(body, PAYMENTS["STRIPE_WEBHOOK_SECRET"])
    return await service.post("/api/v1/webhooks/stripe", data=body.encode(), headers={"Stripe-Signature": signature})


_SPEND = "select * from credits.use_credits(1, 'tests', 'd', null,"

# The calls of a backend that cost most, by the function.
WORST_CALLS = {
    "auth.act_as": ["select auth.act_as(auth.uid())"],
    "credits.get_balance": ["select * from credits.get_balance()"],
    "credits.list_packages": ["select * from credits.list_packages()"],
    "credits.list_purchases": ["select * from credits.list_purchases()"],
    "credits.list_transactions": [
        "select * from credits.list_transactions(100)",
        "select * from credits.list_transactions(100, p_before => '00000000-0000-7000-8001-000000000000')",
        "select * from credits.list_transactions(100, 10000)",
        "select * from credits.list_transactions(100, p_type => 'refund')",
    ],
    "credits.page_of_transactions": [
        "select * from credits.page_of_transactions(100, p_before => '00000000-0000-7000-8001-000000000000')",
        "select * from credits.page_of_transactions(100, p_type => 'refund')",
    ],
    "credits.find_transaction": ["select * from credits.find_transaction('order-1')"],
    "credits.get_purchase": [
        "select p.* from credits.list_purchases() as l, credits.get_purchase(l.id) as p",
    ],
    "credits.metadata_of_package": ["select credits.metadata_of_package(id) from credits.list_packages()"],
    "credits.reverse_spend": [
        "select r.* from credits.use_credits(1, 'tests', 'd', gen_random_uuid()::text) as t,"
        " credits.reverse_spend('tests', 'other', repeat('k', 255), t.id, p_note => repeat(chr(128512), 500)) as r",
    ],
    "credits.use_credits": [
        f"{_SPEND} jsonb_build_object('a', repeat('x', 4087)))",
        f"{_SPEND} ('{{\"a\":[' || repeat('1e308,', 1000000) || '1]}}')::jsonb)",
        f"{_SPEND} ('{{\"a\":' || repeat('[', 3000) || repeat(']', 3000) || '}}')::jsonb)",
    ],
}  # fmt: skip


async def _of_routes(database: Database, gateway: Gateway, service: Service, user: Session) -> list[Bound]:
    assert gateway.process
    bounds = []
    database.query("select credits.seed_packages()")
    requests = worst_requests(service, user)
    assert set(requests) == {route.function for route in ROUTES}, "each route has a worst request"
    for route in ROUTES:
        backends = [
            pid
            for (pid,) in database.query(
                "select pid from pg_stat_activity where usename = 'mana_gateway' and datname = current_database()"
            )
        ]
        for pid in (*backends, gateway.process.pid):
            _forget_peak(pid)
        largest, longest = 0, 0.0
        for request in requests[route.function]:
            for _ in range(3):
                started = time.perf_counter()
                reply = await request()
                longest = max(longest, time.perf_counter() - started)
                largest = max(largest, len(reply.text.encode()))
                away = "payments_unavailable" in reply.text
                assert reply.status < 500 or away, (route.path, reply.text[:200])
        bounds.append(
            Bound(f"{route.method} {route.path}", largest, longest, peak(gateway.process.pid), max(map(peak, backends)))
        )
    return bounds


def _of_sql(database: Database, user: Session) -> list[Bound]:
    bounds = []
    with backend_login(database) as url:
        for door, calls in WORST_CALLS.items():
            largest, longest, most = 0, 0.0, 0
            for call in calls:
                with psycopg.connect(url) as connection:
                    connection.execute("select auth.act_as(%s)", (user.user_id,))
                    started = time.perf_counter()
                    try:
                        rows = connection.execute(call.encode()).fetchall()
                    except psycopg.Error as refusal:
                        rows = [(str(refusal),)]
                    longest = max(longest, time.perf_counter() - started)
                    largest = max(largest, len(json.dumps(rows, default=str, ensure_ascii=False).encode()))
                    most = max(most, peak(connection.info.backend_pid))
            bounds.append(Bound(door, largest, longest, 0, most))
    return bounds


async def _beside(gateway: Gateway, service: Service, user: Session, seconds: float) -> tuple[float, dict[int, int]]:
    """The median time of other users' calls, and their statuses, while one does all that is slow and reads nothing."""
    other, another = await service.new_session(), await service.new_session()
    stop = asyncio.Event()
    slow = worst_requests(service, user)["list_transactions"]

    async def attack(request: Callable[[], Awaitable[Reply]]) -> None:
        while not stop.is_set():
            await request()

    parts = urlsplit(gateway.url)
    page = (
        "GET /api/v1/credits/transactions?limit=100 HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {user.access_token}\r\n\r\n"
    )
    silent = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(45)]
    for _, writer in silent:
        writer.write(page.encode() * 20)
    attacks = [asyncio.create_task(attack(request)) for request in slow * 4]
    await asyncio.sleep(0.2)
    times, statuses = [], {}
    ends = time.monotonic() + seconds
    calls = (
        lambda: other.get("/api/v1/credits/balance"),
        lambda: other.use(1),
        lambda: another.get("/api/v1/credits/transactions?limit=1"),
        lambda: service.get("/health/ready"),
    )
    number = 0
    while time.monotonic() < ends:
        started = time.perf_counter()
        reply = await calls[number % len(calls)]()
        times.append(time.perf_counter() - started)
        status = 200 if reply.status == 402 else reply.status  # credits are spent at some time
        statuses[status] = statuses.get(status, 0) + 1
        number += 1
    stop.set()
    await asyncio.gather(*attacks)
    for _, writer in silent:
        writer.close()
    return statistics.median(times), statuses


async def _measure(database: Database, gateway: Gateway, many: int, seconds: float) -> Report:
    assert gateway.process
    pid = gateway.process.pid
    async with Service(gateway.url) as service:
        user = await worst_user(database, service, many)
        server = _postmaster(database)[0]
        peaks = []
        bounds = await _of_routes(database, gateway, service, user)
        peaks += [bound.gateway for bound in bounds]
        bounds += await asyncio.to_thread(_of_sql, database, user)
        _forget_peak(pid)
        others, statuses = await _beside(gateway, service, user, seconds)
        peaks.append(peak(pid))
        assert gateway.process.poll() is None, "the gateway was killed"
        assert _postmaster(database)[0] == server
    return Report(bounds, others, statuses, max(peaks), False)


def run(cluster: Cluster, many: int, seconds: float) -> Report:
    """Measure on a database and a gateway of its own."""
    with cluster.database() as database, Gateway(database.gateway_url, forked=False) as gateway:
        assert gateway.process
        with (
            memory_of("gateway", [gateway.process.pid], GATEWAY_MEMORY) as one,
            memory_of("server", _postmaster(database), SERVER_MEMORY) as two,
        ):
            report = asyncio.run(_measure(database, gateway, many, seconds))
            crashed = "terminated by signal" in cluster.log.read_text()
        assert not crashed, "a process of the server was killed"
    return Report(report.bounds, report.others, report.statuses, report.gateway, one and two)


def document(report: Report, many: int) -> str:
    """The table as a page."""
    limited = "It is limited to" if report.limited else "Here it is not limited; in the stack it is, to"
    others, peak = f"{report.others * 1000:.0f} ms", f"{report.gateway / MEGABYTE:.0f} MB"
    calls, served = sum(report.statuses.values()), report.statuses.get(200, 0)
    return f"""# The most that one user can cost

`make soak ARGS=bounds` measures this and writes it, on {os.cpu_count()} cores. One user has {many:,}
transactions, 200 of them with metadata as large as release 0.1.0 allowed. Each door gets its worst
input, of that user or of anybody, three times. Memory is the peak of the whole process.
{limited} 512 MB for the gateway and 2 GB for the server. Rate limits are off, and
bcrypt has its least cost: with the real one, a login or a registration takes a third of a second
more.

| route or function | largest answer | longest time | gateway | process of the server |
| --- | --- | --- | --- | --- |
{chr(10).join(bound.row() for bound in report.bounds)}

Then that user asks for all of these pages at once, {4 * 5} at a time, and over 45 more connections for
900 pages that are never read. Other users' calls take {others} at the median, and {calls - served} of
{calls} are refused. The gateway's peak is {peak}.

| bound | value | where |
| --- | --- | --- |
| metadata | 4,096 bytes of text, 32 levels | `_credits.metadata_error`, a CHECK |
| a page | 100 rows, 500,000 bytes of metadata | `credits.page_of_transactions` |
| a filter | looks at 20,000 transactions, then gives a cursor | `api.list_transactions` |
| `offset` | 10,000 | `credits.page_of_transactions` |
| a reply of the database | 2 MB | `gateway/database/connections.py` |
| calls of one user to a function | one at a time | `gateway/database/lanes.py` |
| connections that wait for locks | a fourth | `gateway/database/lanes.py` |
| a response that is not read | 64 KB in 10 s, or the connection ends | `gateway/http/protocol.py` |
| responses that are not read | 64 MB in a worker | `gateway/http/protocol.py` |
"""


def soak(many: int, seconds: float, cluster: Cluster) -> Report:
    """The long form. Writes the document."""
    report = run(cluster, many, seconds)
    DOCUMENT.write_text(document(report, many))
    return report
