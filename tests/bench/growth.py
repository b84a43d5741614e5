"""Whether speed depends on the size of the ledger: the same work on ledgers of several sizes.

The ledgers are databases of one server with the same users, measured in turn. Every user gets the same
number of added rows, so that every index is deep and the rows of one user are spread over the table.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench.measure import Plan, as_figures, discrepancies, in_turns, load
from gateway.operate import migrate
from gateway.operate.bench import table
from harness.gateways import Gateway

KINDS = ("use", "page")


def growth(
    url: str, gateway_url: str, sizes: Sequence[int], plan: Plan, start: Callable[[str], Gateway]
) -> dict[str, Any]:
    """Measure, print a table, and return the figures. ``start`` makes a gateway for a database."""
    with ExitStack() as stack:
        sides = {}
        for rows in sizes:
            name = f"ledger_{rows}"
            own_url = create(url, name, rows, plan)
            sides[f"{rows:,} rows"] = own_url, stack.enter_context(start(_in(gateway_url, name)))
        measured = in_turns(sides, KINDS, plan)
        figures = as_figures(measured)
        for name, (own_url, _) in sides.items():
            plan.report(f"verifying the ledger with {name}")
            figures[name]["discrepancies"] = discrepancies(own_url)
    base = next(iter(sides))
    lines = []
    for kind in KINDS:
        for name in sides:
            m, first = measured[name][kind], measured[base][kind]
            direct, http = statistics.median(m.direct), statistics.median(m.http)
            lines.append((
                kind, name, f"{direct:,.0f}", f"{direct / statistics.median(first.direct):.2f}",
                f"{http:,.0f}", f"{http / statistics.median(first.http):.2f}",
                f"{statistics.median(m.p99):,.1f}", f"{statistics.median(m.wal_bytes):,.0f}",
                figures[name]["discrepancies"],
            ))  # fmt: skip
    print(f"\nLedgers of several sizes; ratios to {base}\n")
    print(
        table(("work", "ledger", "direct/s", "ratio", "HTTP/s", "ratio", "p99 ms", "WAL bytes", "discrepancies"), lines)
    )
    return figures


def create(url: str, name: str, rows: int, plan: Plan) -> str:
    """Make a database whose ledger has about ``rows`` rows, and return its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    own_url = _in(url, name)
    migrate.apply(own_url, lambda _: None)
    plan.report(f"loading {plan.users} users and {rows:,} rows of ledger")
    load(own_url, plan.users)
    began = time.monotonic()
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("call bench.grow(%s)", (rows,))
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
        size, there = connection.execute(
            "select pg_database_size(current_database()) / 2 ^ 30, (select count(*) from credits.transactions)"
        ).fetchone() or (0, 0)
    plan.report(f"{there:,} rows, {size:.1f} GB, in {time.monotonic() - began:.0f} s")
    return own_url


def _in(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=str(PurePosixPath("/") / database)))
