"""How fast the gateway is beside the database that it calls: `make bench`.

Each kind of work is measured in turn directly (pgbench calling the very function of the route, same
claims, same durable server) and over HTTP (wrk), round by round, so that a noisy machine hits both
alike. Medians are shown with their spread; the numbers are for the machine at hand, the ratio is what
counts. Afterwards the books must be sound: a fast wrong answer is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "py"))

from gateway import deploy, local_postgres, passwords
from gateway.keys import KeyDirectory
from gateway.tokens import TokenIssuer
from support import PASSWORD, PEPPER, Gateway, public_directory

HERE = Path(__file__).parent
KINDS = ("balance", "use", "page", "deep_page", "validate", "refresh", "login")
LOGGED_IN = 400  # users with a session; more than there are connections, so locks are not the load
CONNECTIONS = 32
PAST = 60  # transactions of each of them, and
DEPTH = 10_000  # of the first one, whom deep_page asks about

# What pgbench calls: the statement of the route, its arguments from a table that a random number picks.
_CALLER = "from bench.callers as c, api.{} as r where c.n = :n;"
_DIRECT = {
    "balance": "get_balance(c.user_id, c.claims, '{{}}')",
    "use": "use_credits(c.user_id, c.claims, '{{}}', 1, 'bench', 'One request', gen_random_uuid()::text, null, null)",
    "page": "list_transactions(c.user_id, c.claims, '{{}}', 50, 0, null, null, null)",
    "deep_page": "list_transactions(c.user_id, c.claims, '{{}}', 50, 0, c.before, null, null)",
    "validate": "validate(c.user_id, c.claims, '{{}}')",
    "login": "login('{{}}', c.email, c.digest, null, null, '7 days')",
}


@dataclass
class Measured:
    """One kind of work: requests a second by round, and the latencies and costs of the HTTP rounds."""

    direct: list[float] = field(default_factory=list)
    http: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    gateway_us: list[float] = field(default_factory=list)
    postgres_us: list[float] = field(default_factory=list)
    errors: int = 0


def main() -> int:
    arguments = _arguments()
    for program in ("wrk",):
        if not shutil.which(program):
            print(f"{program} is not installed: apt-get install {program}", file=sys.stderr)
            return 1
    server = local_postgres.LocalPostgres(
        public_directory(), settings={"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "200"}
    )
    try:
        server.start(_say)
        return _bench(server, arguments)
    finally:
        server.remove()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


def _bench(server: local_postgres.LocalPostgres, arguments: argparse.Namespace) -> int:
    deploy.apply(server.url, _say)
    _say(f"loading {arguments.users} users")
    _load(server.url, arguments.users)
    results = {}
    for workers in arguments.workers:
        environment = {"WORKERS": str(workers), "LOG_LEVEL": "warning", "JWT_ACCESS_TOKEN_EXPIRY": "1d"}
        with Gateway(server.gateway_url(), environment) as gateway:
            results[workers] = _measure(server.url, gateway, arguments)
            memory = _memory(gateway)
        print(f"\n{workers} worker(s), {CONNECTIONS} connections, {memory} MB resident in the largest process")
        _print(results[workers])
    if arguments.json:
        figures = {f"{n} workers": {k: asdict(m) for k, m in r.items()} for n, r in results.items()}
        arguments.json.write_text(json.dumps(figures, indent=2))

    with psycopg.connect(server.url) as connection:
        wrong = connection.execute("select * from credits.verify_ledger()").fetchall()
    errors = sum(m.errors for r in results.values() for m in r.values())
    print(f"\n{errors} errors, {len(wrong)} discrepancies in the ledger")
    return 1 if errors or wrong else 0


def _load(url: str, users: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((HERE / "load.sql").read_bytes())
        connection.execute(
            "call bench.load(%s, %s, %s, %s, %s)",
            (users, LOGGED_IN, passwords.digest(PEPPER, PASSWORD), PAST, DEPTH),
        )
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")


def _measure(url: str, gateway: Gateway, arguments: argparse.Namespace) -> dict[str, Measured]:
    measured = {kind: Measured() for kind in arguments.kinds}
    for number in range(arguments.rounds):
        for kind, result in measured.items():
            _say(f"round {number + 1} of {arguments.rounds}: {kind}")
            if kind in _DIRECT:
                result.direct.append(_direct(gateway, kind, arguments.seconds))
            _http(url, gateway, kind, arguments.seconds, result)
    return measured


def _direct(gateway: Gateway, kind: str, seconds: int) -> float:
    """Transactions a second by pgbench, as the gateway's role."""
    url = urlsplit(gateway.database_url)
    number = 0 if kind == "deep_page" else f"random(0, {LOGGED_IN - 1})"
    script = Path(tempfile.mkstemp(prefix="mana-bench-")[1])
    script.write_text(f"\\set n {number}\nselect r.* " + _CALLER.format(_DIRECT[kind].format()))
    command = [str(local_postgres.find_binaries() / "pgbench"), "--no-vacuum", "--protocol", "prepared"]
    command += ["--client", str(CONNECTIONS), "--jobs", "1", "--time", str(seconds), "--file", str(script)]
    command += ["--host", url.hostname or "", "--port", str(url.port), "--username", url.username or ""]
    environment = {**os.environ, "PGPASSWORD": url.password or ""}
    finished = subprocess.run(
        [*command, url.path.lstrip("/")], env=environment, capture_output=True, text=True, check=False
    )
    script.unlink()
    if finished.returncode != 0:
        raise SystemExit(finished.stderr)
    line = next(line for line in finished.stdout.splitlines() if line.startswith("tps"))
    return float(line.split()[2])


def _http(url: str, gateway: Gateway, kind: str, seconds: int, result: Measured) -> None:
    threads = 1
    with tempfile.NamedTemporaryFile("w", prefix="mana-bench-", suffix=".tokens") as tokens:
        tokens.write("\n".join(_tokens(url, gateway, kind)))
        tokens.flush()
        with psycopg.connect(url) as connection:
            (before,) = connection.execute("select before from bench.callers where n = 0").fetchone() or (None,)
        environment = {
            **os.environ, "KIND": kind, "TOKENS": tokens.name, "THREADS": str(threads), "BEFORE": str(before),
            "PASSWORD": PASSWORD, "SALT": os.urandom(6).hex(),
        }  # fmt: skip
        gateway_before, postgres_before = _cpu(gateway)
        finished = subprocess.run(
            ["wrk", "--threads", str(threads), "--connections", str(CONNECTIONS), "--duration", f"{seconds}s",
             "--timeout", "10s", "--script", str(HERE / "load.lua"), gateway.url],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        gateway_after, postgres_after = _cpu(gateway)
    summary = json.loads(finished.stdout.splitlines()[-1])
    # A login beyond what bcrypt allows is refused, and that is right; only the others count.
    refused = summary["errors"] if kind == "login" else 0
    requests = summary["requests"] - refused
    result.http.append(requests / summary["seconds"])
    result.gateway_us.append((gateway_after - gateway_before) * 1e6 / requests)
    result.postgres_us.append((postgres_after - postgres_before) * 1e6 / requests)
    result.errors += summary["errors"] - refused
    for percentile in ("p50", "p95", "p99"):
        getattr(result, percentile).append(summary[percentile])


def _tokens(url: str, gateway: Gateway, kind: str) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        if kind == "refresh":
            return [row[0] for row in connection.execute("select * from bench.new_refresh_tokens()")]
        ring = KeyDirectory(gateway.data_dir / "keys").load()
        issuer = TokenIssuer(lambda: ring, "manacore", "manacore", 86400)
        asking = 1 if kind == "deep_page" else LOGGED_IN
        rows = connection.execute("select claims from bench.callers where n < %s", (asking,)).fetchall()
        return [issuer.sign(json.loads(row[0])) for row in rows]


def _cpu(gateway: Gateway) -> tuple[float, float]:
    """CPU seconds so far of the gateway's processes, and of PostgreSQL's."""
    ours, postgres = 0.0, 0.0
    assert gateway.process
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            session = int(rest.split()[3])
            user, system = rest.split()[11:13]
        except (OSError, ValueError):
            continue  # it has just ended
        seconds = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        if session == gateway.process.pid:
            ours += seconds
        elif name == "postgres":
            postgres += seconds
    return ours, postgres


def _memory(gateway: Gateway) -> int:
    """Resident megabytes of the gateway's largest process."""
    assert gateway.process
    sizes = subprocess.run(
        ["ps", "-s", str(gateway.process.pid), "-o", "rss="], capture_output=True, text=True, check=True
    )
    return max(int(size) for size in sizes.stdout.split()) // 1024


def _print(measured: dict[str, Measured]) -> None:
    print(
        "| work | direct/s | HTTP/s | ratio | p50 ms | p95 ms | p99 ms | gateway µs | PostgreSQL µs |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for kind, m in measured.items():
        http = statistics.median(m.http)
        spread = f"{http:,.0f} ({min(m.http):,.0f} to {max(m.http):,.0f})"
        direct = statistics.median(m.direct) if m.direct else None
        compared = (f"{direct:,.0f}", f"{http / direct:.2f}") if direct else ("-", "-")
        medians = (statistics.median(values) for values in (m.p50, m.p95, m.p99, m.gateway_us, m.postgres_us))
        print(" | ".join(["", kind, compared[0], spread, compared[1], *(f"{x:,.1f}" for x in medians), ""]).strip())


def _say(text: str) -> None:
    print(f"- {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
