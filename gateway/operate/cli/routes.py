"""`mana routes`: the API as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.api.routes import Route


@click.command()
def routes() -> None:
    """List all routes.

    One line each: method, path, SQL function, access, rate limit, and what the gateway does besides the call.
    """
    from gateway.api.routes import BASE_PATH, ROUTES  # noqa: PLC0415

    rows = [
        (
            route.method,
            f"{BASE_PATH}{route.path}",
            f"api.{route.function}",
            route.access.value,
            route.limit.value,
            ", ".join(_besides(route)),
        )
        for route in ROUTES
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def _besides(route: Route) -> Iterator[str]:
    if route.hashes_password:
        yield "hashes a password"
    if route.issues_token:
        yield "signs an access token"
    if route.serves_many:
        yield "calls in batches"
