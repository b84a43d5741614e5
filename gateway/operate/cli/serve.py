"""`mana serve`: the gateway alone, as it runs in production."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from gateway.operate.cli.terminal import step
from gateway.settings.serving import Settings, load


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; WORKERS is the default.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; PORT is the default.")
def serve(workers: int | None, port: int | None) -> None:
    """Run the gateway on a migrated database.

    All settings come from the environment; a missing or weak one stops the start. SIGTERM lets requests
    in flight finish.
    """
    environment = dict(os.environ)
    if workers is not None:
        environment["WORKERS"] = str(workers)
    if port is not None:
        environment["PORT"] = str(port)
    start_gateway(load(environment), lambda address: step(f"serving at {address}"))


def start_gateway(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until a signal stops it; ``announce`` gets the address."""
    # Late: this import takes a moment, and other commands need not wait for it.
    from gateway.http.workers import serve as run_server  # noqa: PLC0415

    run_server(settings, announce)
