"""How long a backup and its proof take: each step of `mana backup`, in seconds a gigabyte of database.

It runs on a durable server of its own, which archives its WAL as in production. The repository is encrypted
and on the same disk as everything else.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from dataclasses import asdict
from typing import Any
from unittest import mock

from bench.growth import create
from bench.measure import Plan
from gateway.operate import backup
from gateway.operate.bench import table
from gateway.settings.maintenance import load_maintenance
from harness.databases import Archiving

SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


def restore(rows: int, plan: Plan) -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    steps: dict[str, list[float]] = {}
    with Archiving(SERVER) as archiving, mock.patch.dict(os.environ, archiving.environment):
        url = create(archiving.server.url, "backed_up", rows, plan)
        for number in range(plan.rounds):
            plan.report(f"round {number + 1} of {plan.rounds}")
            taken, proof = asyncio.run(backup.back_up(url, load_maintenance(archiving.environment), plan.report))
            seconds = {"backup": (taken.finished - taken.started).total_seconds(), **asdict(proof)}
            for name, value in seconds.items():
                steps.setdefault(name, []).append(value)
    size = taken.size / 2**30
    lines = [
        (name, f"{statistics.median(found):.1f}", f"{statistics.median(found) / size:.1f}")
        for name, found in steps.items()
    ]
    print(f"\n{rows:,} rows: {size:.2f} GB, {taken.stored / 2**30:.2f} GB in the repository\n")
    print(table(("step", "s", "s/GB"), lines))
    return {"rows": rows, "gigabytes": size, "stored": taken.stored / 2**30, "seconds": steps}
