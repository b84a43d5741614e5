"""`mana bench`: how fast a running service is."""

from __future__ import annotations

import click

from gateway.operate.cli.terminal import step
from gateway.problems import OperatorError


@click.command()
@click.argument("url", default="http://127.0.0.1:3001")
@click.option(
    "--seconds", default=5, show_default=True, type=click.IntRange(1, 120), help="Length of each measurement."
)
@click.option(
    "--connections", default=32, show_default=True, type=click.IntRange(1, 1000), help="Open at the same time."
)
@click.option("--users", default=64, show_default=True, type=click.IntRange(1, 10_000), help="New users to register.")
def bench(url: str, seconds: int, connections: int, users: int) -> None:
    """Measure how fast the service at URL answers.

    wrk sends the requests over HTTP, for users that this command registers and does not delete. Spends end
    early when the users' signup bonus is used up. The service must run without rate limits (RATE_LIMIT_MAX=0).
    """
    from gateway.operate import bench as measuring  # noqa: PLC0415

    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("must begin with http:// or https://", param_hint="URL")
    rounds = measuring.run(url.rstrip("/"), seconds, connections, users, step)
    click.echo(measuring.describe(rounds))
    if errors := sum(r.errors for r in rounds.values()):
        raise OperatorError(f"{errors} answers were wrong", hint="see the log of the service")
