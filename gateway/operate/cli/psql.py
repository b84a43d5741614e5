"""`mana psql` and `mana dsn`: the database by hand."""

from __future__ import annotations

import os
import shutil
import sys
from urllib.parse import unquote, urlsplit, urlunsplit

import click

from gateway.operate.cli.environment import admin_url
from gateway.operate.postgres_programs import find_binaries
from gateway.problems import OperatorError


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database as its administrator; ARGUMENTS are psql's."""
    try:
        url = urlsplit(admin_url())
    except ValueError as error:
        raise OperatorError("the database's URL is not a valid one") from error
    binary = shutil.which("psql") or str(find_binaries() / "psql")
    # The password goes through the environment: everybody on the machine can read a command line.
    without = urlunsplit(
        url._replace(netloc=url.netloc.replace(f":{url.password}@", "@") if url.password else url.netloc)
    )
    environment = {**os.environ, **({"PGPASSWORD": unquote(url.password)} if url.password else {})}
    sys.stdout.flush()
    os.execvpe(binary, [binary, "--no-psqlrc", without, *arguments], environment)  # noqa: S606


@click.command()
def dsn() -> None:
    """Print the administrator's connection string, password included."""
    click.echo(admin_url())
