"""One measurement of tests/bench, directly with pgbench or over HTTP, and its cost."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import psycopg

from gateway.operate import bench
from gateway.operate.bench import Round, percentile
from gateway.operate.migrate import Report
from gateway.operate.postgres_programs import find_binaries
from gateway.problems import OperatorError
from gateway.tokens import passwords
from gateway.tokens.access_tokens import TokenIssuer
from gateway.tokens.keys import KeyDirectory
from harness.clients import PASSWORD
from harness.gateways import PEPPER, Gateway

HERE = Path(__file__).parent
KINDS = ("balance", "use", "page", "deep_page", "validate", "refresh", "login")
LOGGED_IN = 400  # users with a session: more than connections, so that locks do not limit the rate
CONNECTIONS = 32
PAST = 60  # transactions of each of them
DEPTH = 10_000  # transactions of the first one, which deep_page reads
SHORTEST_LOGIN = 8  # seconds of logging in: with so many waiting, one answer takes half of that

# The call of each route, which pgbench runs. A random number picks the row that has its arguments.
_DIRECT = {
    "balance": "get_balance(array[c.user_id], array[c.claims], array['{}'])",
    "use": "use_credits(array[c.user_id], array[c.claims], array['{}'], array[1], array['bench'], array['One request'],"
    " array[gen_random_uuid()::text], array[null::jsonb], array[null::bigint])",
    "page": "list_transactions(c.user_id, c.claims, '{}', 50, 0, null, null, null)",
    "deep_page": "list_transactions(c.user_id, c.claims, '{}', 50, 0, c.before, null, null)",
    "validate": "validate(c.user_id, c.claims, '{}')",
    "login": "log_in('{}', c.email, c.digest, null, null, '7 days')",
}


@dataclass(frozen=True)
class Plan:
    """Options of all parts of a run; ``seconds`` is the length of one measurement."""

    users: int
    workers: int  # of the gateway, where a part measures one gateway only
    rounds: int
    seconds: int
    report: Report


@dataclass
class Measured:
    """One kind of work over all rounds: requests a second, milliseconds, and the cost of a request."""

    direct: list[float] = field(default_factory=list)
    http: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    gateway_us: list[float] = field(default_factory=list)
    postgres_us: list[float] = field(default_factory=list)
    wal_bytes: list[float] = field(default_factory=list)
    errors: int = 0
    refused: int = 0

    def add(self, counted: Round) -> None:
        """Add a round over HTTP."""
        self.http.append(counted.rate)
        self.p50.append(counted.p50)
        self.p95.append(counted.p95)
        self.p99.append(counted.p99)
        self.errors += counted.errors
        self.refused += counted.refused

    @property
    def ratio(self) -> float | None:
        """HTTP to direct; None without a direct measurement."""
        return statistics.median(self.http) / statistics.median(self.direct) if self.direct else None


def as_figures(measured: Mapping[str, Mapping[str, Measured]]) -> dict[str, Any]:
    """For JSON."""
    return {name: {kind: asdict(m) for kind, m in kinds.items()} for name, kinds in measured.items()}


def load(url: str, users: int) -> None:
    """Fill a migrated database with users, some of whom are logged in and have old transactions."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((HERE / "load.sql").read_bytes())
        connection.execute(
            "call bench.load(%s, %s, %s, %s, %s)",
            (users, LOGGED_IN, passwords.digest(PEPPER, PASSWORD), PAST, DEPTH),
        )
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")


def discrepancies(url: str) -> int:
    """The number of discrepancies in the books, which must be 0."""
    with psycopg.connect(url) as connection:
        connection.execute("set work_mem = '1GB'")
        row = connection.execute("select count(*) from credits.verify_ledger()").fetchone()
    return int(row[0]) if row else -1


def in_turns(
    sides: Mapping[str, tuple[str, Gateway]], kinds: Sequence[str], plan: Plan, *, directly: bool = True
) -> dict[str, dict[str, Measured]]:
    """Measure each kind on each side in turn, for all rounds. A side is an administrator's URL and a gateway."""
    measured = {name: {kind: Measured() for kind in kinds} for name in sides}
    for number in range(plan.rounds):
        for kind in kinds:
            plan.report(f"round {number + 1} of {plan.rounds}: {kind}")
            for name, (url, gateway) in sides.items():
                if directly and kind in _DIRECT:
                    measured[name][kind].direct.append(direct(gateway.database_url, kind, plan.seconds))
                over_http(url, gateway, kind, plan.seconds, measured[name][kind])
    return measured


# ---------------------------------------------------------------- directly


def direct(gateway_url: str, kind: str, seconds: int) -> float:
    """Transactions a second of the function that a route calls, as the gateway's role."""
    number = 0 if kind == "deep_page" else f"random(0, {LOGGED_IN - 1})"
    script = f"\\set n {number}\nselect r.* from bench.callers as c, api.{_DIRECT[kind]} as r where c.n = :n;"
    return pgbench(gateway_url, script, CONNECTIONS, seconds)


def pgbench(url: str, script: str, clients: int, seconds: int) -> float:
    """Transactions a second of a script, without a statement timeout."""
    parts = urlsplit(url)
    with tempfile.NamedTemporaryFile("w", prefix="mana-bench-") as file:
        file.write(script)
        file.flush()
        command = [str(find_binaries() / "pgbench"), "--no-vacuum", "--protocol", "prepared"]
        command += ["--client", str(clients), "--jobs", "1", "--time", str(seconds), "--file", file.name]
        command += ["--host", parts.hostname or "", "--port", str(parts.port), "--username", parts.username or ""]
        options = {"PGPASSWORD": unquote(parts.password or ""), "PGOPTIONS": "-c statement_timeout=0"}
        finished = subprocess.run(
            [*command, parts.path.lstrip("/")], env={**os.environ, **options},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = re.search(r"^tps = ([\d.]+)", finished.stdout, re.MULTILINE)
    if finished.returncode != 0 or not found:
        raise OperatorError(f"pgbench failed: {finished.stderr or finished.stdout}", hint="was the time too short?")
    return float(found[1])


# ---------------------------------------------------------------- over HTTP


def over_http(url: str, gateway: Gateway, kind: str, seconds: int, into: Measured | None = None) -> Round:
    """Measure one kind of work through a gateway on the database of this administrator's URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        senders = _senders(connection, gateway, kind)
        (before,) = connection.execute("select before from bench.callers where n = 0").fetchone() or (None,)
        cost = _cost(connection, gateway)
        if kind == "login":
            counted = bench.log_in(gateway.url, senders, PASSWORD, max(seconds, SHORTEST_LOGIN), CONNECTIONS)
        else:
            counted = bench.send(gateway.url, kind, senders, seconds, CONNECTIONS, BEFORE=str(before))
        cost = {name: after - cost[name] for name, after in _cost(connection, gateway).items()}
    done = max(counted.answers, 1)
    spent = cost["spent"]
    if kind == "use" and not counted.answers <= spent <= counted.answers + CONNECTIONS:
        raise OperatorError(f"{counted.answers} spends were answered, {spent:.0f} are in the books")
    if into:
        into.add(counted)
        into.gateway_us.append(cost["gateway"] * 1e6 / done)
        into.postgres_us.append(cost["postgres"] * 1e6 / done)
        into.wal_bytes.append(cost["wal"] / done)
    return counted


def _senders(connection: psycopg.Connection[Any], gateway: Gateway, kind: str) -> list[str]:
    if kind == "refresh":
        return [row[0] for row in connection.execute("select * from bench.new_refresh_tokens()")]
    if kind == "login":
        return [row[0] for row in connection.execute("select email from bench.callers order by n")]
    ring = KeyDirectory(gateway.data_dir / "keys").load()
    issuer = TokenIssuer(lambda: ring, "manacore", "manacore", 86400)
    asking = 1 if kind == "deep_page" else LOGGED_IN
    rows = connection.execute("select claims from bench.callers where n < %s", (asking,)).fetchall()
    return [issuer.sign(json.loads(row[0])) for row in rows]


def _cost(connection: psycopg.Connection[Any], gateway: Gateway) -> dict[str, float]:
    """Totals until now: credits spent, bytes of WAL, CPU seconds of the gateway and of PostgreSQL."""
    row = connection.execute(
        "select (select sum(total_spent) from credits.balances), pg_current_wal_insert_lsn() - '0/0'"
    ).fetchone()
    assert row
    ours, postgres = 0.0, 0.0
    members = set(_processes(gateway))
    server = _parent(connection.info.backend_pid)
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        parent, user, system = fields[1], *fields[11:13]
        seconds = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        if int(directory.name) in members:
            ours += seconds
        elif int(parent) == server:
            postgres += seconds
    return {"spent": float(row[0]), "wal": float(row[1]), "gateway": ours, "postgres": postgres}


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# ---------------------------------------------------------------- memory


def _processes(gateway: Gateway) -> list[int]:
    assert gateway.process
    found = subprocess.run(
        ["ps", "-s", str(gateway.process.pid), "-o", "pid="], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in found.stdout.split()]


class Memory:
    """Samples the resident megabytes of a gateway's largest process, a worker, every second."""

    def __init__(self, gateway: Gateway) -> None:
        self.samples: list[float] = []
        self._gateway = gateway
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stopped.wait(1):
            sizes = [_resident(pid) for pid in _processes(self._gateway)]
            self.samples.append(max(sizes))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        """Medians of the second and the last tenth of the time (the first warms up), and the maximum."""
        tenth = max(1, len(self.samples) // 10)
        start, end = self.samples[tenth : 2 * tenth] or self.samples, self.samples[-tenth:]
        return {"start": statistics.median(start), "end": statistics.median(end), "most": percentile(self.samples, 100)}


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0  # it has just ended
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
