"""`mana routes`: the API as a table."""

from __future__ import annotations

import click

from gateway.api.table import ROUTES


@click.command()
def routes() -> None:
    """List all routes.

    One line each: method, path, SQL function, access, rate limit, and the steps that it takes besides the call.
    """
    rows = [
        (
            route.method,
            route.path,
            f"api.{route.function}",
            route.access.value,
            route.limit.value,
            ", ".join([step.name for step in route.before] + [step.name for step in route.after]),
        )
        for route in ROUTES
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
