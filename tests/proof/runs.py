"""Runs of a load, each with a seed and a history that is kept when a promise was broken."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from harness.databases import Cluster
from harness.doors import backend_login
from harness.gateways import Gateway
from proof.bank import Bank, Report, Targets, Violation
from proof.history import History

# Access tokens last as long as a run: that they end is another test's.
QUIET = {"LOG_LEVEL": "warning", "JWT_ACCESS_TOKEN_EXPIRY": "1d"}
# Requests are counted in Redis, and nobody reaches a limit.
UNLIMITED = {"RATE_LIMIT_MAX": "1000000000", "RATE_LIMIT_AUTH_MAX": "100000000"}


async def play(
    targets: Targets,
    kind: str,
    seed: int,
    *,
    keep: Path | None = None,
    afterwards: Callable[[], Awaitable[None]] | None = None,
    **options: Any,
) -> Report:
    """Run the bank once, and then what raises AssertionError when something else is wrong ``afterwards``.

    ``keep`` is where the history goes, else it is deleted when all is well.

    Raises Violation, which names the seed and the history.
    """
    path = keep or Path(tempfile.mkdtemp(prefix="mana-proof-")) / f"{kind}-{seed}.jsonl"
    try:
        with History(path, kind=kind, seed=seed) as history:
            report = await Bank(targets, history, seed=seed, **options).run()
        if afterwards:
            await afterwards()
    except BaseException as error:
        told = f'seed {seed}; the history is {path}; make soak ARGS="judge {path}" judges it again'
        raise Violation(f"{str(error) or type(error).__name__}\n{told}") from error
    if not keep:
        path.unlink()
        path.parent.rmdir()
    return report


@contextlib.contextmanager
def bank_house(cluster: Cluster) -> Iterator[Targets]:
    """A new database, a gateway with two workers, and a trusted backend."""
    with (
        cluster.database() as database,
        backend_login(database) as backend,
        Gateway(database.gateway_url, {**QUIET, "WORKERS": "2"}) as gateway,
    ):
        yield Targets(gateway.url, backend, database.admin_url)
