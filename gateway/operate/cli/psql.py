"""`mana psql` and `mana dsn`: the database by hand."""

from __future__ import annotations

import os
import shutil
import sys

import click
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway.operate.cli.environment import admin_url
from gateway.operate.connecting import connecting
from gateway.operate.postgres_programs import find_binaries


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database as its administrator; ARGUMENTS are psql's."""
    with connecting():
        parameters = conninfo_to_dict(admin_url())
    binary = shutil.which("psql") or str(find_binaries() / "psql")
    # The password goes through the environment: everybody on the machine can read a command line.
    password = parameters.pop("password", None)
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    sys.stdout.flush()
    os.execvpe(binary, [binary, "--no-psqlrc", make_conninfo("", **parameters), *arguments], environment)  # noqa: S606


@click.command()
def dsn() -> None:
    """Print the administrator's connection string, password included."""
    click.echo(admin_url())
