"""How long the checks of the ledger take: all of it, what is new since the last sound check, and nothing new.

Seconds and rows a second carry over to a ledger of another size for the full check, which reads all. The
short one depends on what is new and on the number of accounts.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import psycopg

from bench.growth import create
from bench.measure import Plan
from gateway.operate import backup
from gateway.operate.bench import table

NEW = 0.01  # of the ledger, before each short check
NEW_ROWS = "check_ledger(p_full => false), new rows"
WHOLE = ("verify_ledger()", "check_ledger(p_full => true)")
CHECKS = {
    **{name: f"credits.{name}" for name in WHOLE},
    NEW_ROWS: "credits.check_ledger(p_full => false)",
    "check_ledger(p_full => false), no new row": "credits.check_ledger(p_full => false)",
    "read_marks()": "credits.read_marks() where users = 0",
}


def ledger(url: str, rows: int, plan: Plan) -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    seconds: dict[str, list[float]] = {name: [] for name in CHECKS}
    read: dict[str, list[int]] = {name: [] for name in CHECKS}
    found = 0
    own_url = create(url, "checked", rows, plan)
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute(backup.ROOM)  # as mana has it
        for number in range(plan.rounds):
            plan.report(f"round {number + 1} of {plan.rounds}")
            there = _rows(connection)
            for name, check in CHECKS.items():
                judged = there if name in WHOLE else 0
                if name == NEW_ROWS:
                    connection.execute("call bench.grow(%s)", (round(rows * NEW),))
                    judged = _rows(connection) - there
                began = time.monotonic()
                row = connection.execute(f"select count(*) from {check}".encode()).fetchone()
                seconds[name].append(time.monotonic() - began)
                read[name].append(judged)
                found += row[0] if row else 1
        (size,) = connection.execute("select pg_database_size(current_database()) / 2 ^ 30").fetchone() or (0,)
    lines = []
    for name in CHECKS:
        median, new = statistics.median(seconds[name]), statistics.median(read[name])
        lines.append((
            name, f"{new:,.0f}", f"{median:.2f}", f"{min(seconds[name]):.2f}", f"{new / median:,.0f}" if new else "-",
            f"{median / size:.1f}" if name in WHOLE else "-",
        ))  # fmt: skip
    print(f"\nA ledger of {there:,} rows and {plan.users:,} accounts, a database of {size:.2f} GB\n")
    print(table(("check", "rows judged", "s", "least s", "rows/s", "s/GB"), lines))
    return {"rows": there, "gigabytes": size, "seconds": seconds, "judged": read, "discrepancies": found}


def _rows(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select count(*) from credits.transactions").fetchone()
    return int(row[0]) if row else 0
