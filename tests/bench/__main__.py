"""How fast the gateway is beside the database that it calls: `make bench`.

Each kind of work is measured in turn directly (pgbench calls the function of the route, with the same
claims on the same durable server) and over HTTP (wrk), round by round, so that a noisy machine affects
both alike. The tables show medians with their spread. The numbers depend on the machine, so the ratio
is what counts. After each part the books must be sound: a fast wrong answer is a failure.

Further parts run on request: the size of the ledger (growth.py), its checks (ledger.py), a flood of
logins beside spends (isolation.py), backup and restore (restore.py), memory over minutes, and PgBouncer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.growth import growth
from bench.isolation import isolation
from bench.ledger import ledger
from bench.measure import (
    CONNECTIONS,
    KINDS,
    Measured,
    Memory,
    Plan,
    as_figures,
    discrepancies,
    in_turns,
    load,
    over_http,
)
from bench.picture import draw
from bench.restore import restore
from gateway.operate import local_postgres, migrate
from gateway.operate.bench import require_wrk, table
from gateway.problems import OperatorError
from harness.gateways import Gateway
from harness.places import public_directory
from harness.servers import PgBouncer

CONNECTIONS_OF_A_WORKER = 10  # to the database
SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "200"}


def main() -> int:
    arguments = _arguments()
    # When make or a time limit ends this process, the server ends, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = local_postgres.LocalPostgres(public_directory(), settings=SERVER)
    try:
        require_wrk()
        server.start(_say)
        migrate.apply(server.url, _say)
        _say(f"loading {arguments.users} users")
        load(server.url, arguments.users)
        return _bench(server, arguments)
    except OperatorError as error:
        print(f"error: {error}" + (f"\nhint:  {error.hint}" if error.hint else ""), file=sys.stderr)
        return 1
    finally:
        server.remove()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="empty: only the other parts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="the other parts use the highest")
    parser.add_argument("--growth", type=int, nargs="+", metavar="ROWS", help="sizes of the ledger, such as 0 1000000")
    parser.add_argument("--ledger", type=int, metavar="ROWS", help="the checks of a ledger of this size")
    parser.add_argument("--restore", type=int, metavar="ROWS", help="backup and restore of a ledger of this size")
    parser.add_argument("--isolation", action="store_true", help="a flood of logins beside spends")
    parser.add_argument("--minutes", type=float, help="length of a steady load under which memory must not grow")
    parser.add_argument("--pgbouncer", action="store_true", help="the same work through PgBouncer")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--svg", type=Path, help="file to draw them in")
    return parser.parse_args()


def _bench(server: local_postgres.LocalPostgres, arguments: argparse.Namespace) -> int:
    figures: dict[str, Any] = {"machine": _machine(arguments)}
    plan = Plan(arguments.users, max(arguments.workers), arguments.rounds, arguments.seconds, _say)
    gateway_url = server.gateway_url()

    @contextmanager
    def part(name: str) -> Iterator[dict[str, Any]]:
        found: dict[str, Any] = {}
        yield found
        figures[name] = {**found, "ledger": {"discrepancies": discrepancies(server.url)}}

    if arguments.kinds:
        with part("http") as found:
            for workers in arguments.workers:
                with _gateway(gateway_url, workers) as gateway, Memory(gateway) as memory:
                    sides = {str(workers): (server.url, gateway)}
                    measured = in_turns(sides, arguments.kinds, plan)
                found.update(as_figures(measured))
                found[str(workers)]["memory"] = memory.figures()
                print(f"\n{workers} worker(s), {CONNECTIONS} connections; {_memory(memory)}\n")
                print(_table(measured[str(workers)]))
    if arguments.pgbouncer:
        with part("pgbouncer") as found:
            found.update(_pgbouncer(server.url, gateway_url, arguments.kinds, plan))
    if arguments.isolation:
        with part("isolation") as found, _gateway(gateway_url, plan.workers) as gateway:
            found.update(isolation(server.url, gateway, plan))
    if arguments.minutes:
        with part("memory") as found, _gateway(gateway_url, plan.workers) as gateway:
            found.update(_steady(server.url, gateway, arguments.minutes, plan))
    if arguments.growth:
        with part("growth") as found:
            found.update(
                growth(server.url, gateway_url, arguments.growth, plan, lambda url: _gateway(url, plan.workers))
            )
    if arguments.ledger:
        figures["ledger"] = ledger(server.url, arguments.ledger, plan)
    if arguments.restore:
        figures["restore"] = restore(arguments.restore, plan)

    figures["errors"], figures["discrepancies"] = (_sum(figures, name) for name in ("errors", "discrepancies"))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.svg:
        arguments.svg.write_text(draw(figures))
    print(f"{figures['errors']} errors, {figures['discrepancies']} discrepancies in the ledger")
    return 1 if figures["errors"] or figures["discrepancies"] else 0


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(), "python": platform.python_version(), "connections": CONNECTIONS,
        "users": arguments.users, "rounds": arguments.rounds, "seconds": arguments.seconds,
    }  # fmt: skip


def _sum(figures: Any, name: str) -> int:
    """The sum of a figure over all parts."""
    if not isinstance(figures, dict):
        return 0
    return sum(value if key == name else _sum(value, name) for key, value in figures.items())


def _gateway(url: str, workers: int) -> Gateway:
    environment = {"WORKERS": str(workers), "LOG_LEVEL": "warning", "JWT_ACCESS_TOKEN_EXPIRY": "1d"}
    return Gateway(url, environment, forked=False)  # what is measured shares no memory with anybody


def _pgbouncer(url: str, gateway_url: str, wanted: Sequence[str], plan: Plan) -> dict[str, Any]:
    """Measure PgBouncer with and without support of named prepared statements, and no PgBouncer at all.

    PgBouncer gets as many server connections as the gateway opens.
    """
    kinds = [kind for kind in wanted if kind != "login"] or ["balance", "use"]
    poolers = {"unnamed statements": {"max_prepared_statements": "0"}, "named": {"max_prepared_statements": "200"}}
    if PgBouncer.version() < (1, 21):
        _say("this PgBouncer is older than 1.21 and knows no named prepared statements")
        poolers = {"unnamed statements": {}}
    with ExitStack() as stack:
        sides = {"no PgBouncer": (url, stack.enter_context(_gateway(gateway_url, plan.workers)))}
        for name, settings in poolers.items():
            pooler = stack.enter_context(
                PgBouncer(gateway_url, plan.workers * CONNECTIONS_OF_A_WORKER, settings=settings)
            )
            sides[name] = url, stack.enter_context(_gateway(pooler.through(gateway_url), plan.workers))
        measured = in_turns(sides, kinds, plan, directly=False)
    rows = []
    for kind in kinds:
        rates = [statistics.median(measured[name][kind].http) for name in sides]
        rows.append((kind, *(f"{rate:,.0f} ({rate / rates[0]:.2f})" for rate in rates)))
    print(f"\nPgBouncer {'.'.join(map(str, PgBouncer.version()))}, {plan.workers} worker(s), HTTP/s\n")
    print(table(("work", *sides), rows))
    return as_figures(measured)


def _steady(url: str, gateway: Gateway, minutes: float, plan: Plan) -> dict[str, Any]:
    """Run all kinds of work in turn for minutes, and measure the memory of a worker."""
    _say(f"steady load for {minutes:g} minutes")
    until = time.monotonic() + 60 * minutes
    measured = {kind: Measured() for kind in KINDS}
    with Memory(gateway) as memory:
        while time.monotonic() < until:
            for kind, into in measured.items():
                over_http(url, gateway, kind, plan.seconds, into)
    answers = sum(round(rate * plan.seconds) for m in measured.values() for rate in m.http)
    print(f"\nsteady load of {minutes:g} minutes, some {answers:,} requests; {_memory(memory)}")
    return {
        **memory.figures(), "minutes": minutes, "requests": answers,
        "errors": sum(m.errors for m in measured.values()),
    }  # fmt: skip


def _memory(memory: Memory) -> str:
    figures = memory.figures()
    return "resident MB a worker: start {start:.0f}, end {end:.0f}, most {most:.0f}".format(**figures)


def _table(measured: dict[str, Measured]) -> str:
    rows = []
    for kind, m in measured.items():
        http = f"{_rate(statistics.median(m.http))} ({_rate(min(m.http))} to {_rate(max(m.http))})"
        compared = (_rate(statistics.median(m.direct)), f"{m.ratio:.2f}") if m.ratio else ("-", "-")
        medians = [statistics.median(values) for values in (m.p50, m.p95, m.p99, m.gateway_us, m.postgres_us)]
        wal = f"{statistics.median(m.wal_bytes):,.0f}"
        rows.append((kind, compared[0], http, compared[1], *(f"{x:,.1f}" for x in medians), wal, m.refused, m.errors))
    headings = (
        "work", "direct/s", "HTTP/s", "ratio", "p50 ms", "p95 ms", "p99 ms", "gateway µs", "PostgreSQL µs",
        "WAL bytes", "refused", "errors",
    )  # fmt: skip
    return table(headings, rows)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _say(text: str) -> None:
    print(f"- {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
