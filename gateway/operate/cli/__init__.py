"""The command line ``mana``: a module for each group of commands, joined here."""

from __future__ import annotations

import os

import click

from gateway import __version__
from gateway.database import pins
from gateway.operate.cli import (
    backends,
    backup,
    bench,
    corrections,
    keys,
    ledger,
    migrate,
    packages,
    psql,
    purchases,
    routes,
    run,
    serve,
    settings,
    users,
    work,
)
from gateway.operate.cli.terminal import Group, step


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mana")
def main() -> None:
    """Mana Core Auth: accounts and credits for a family of apps.

    Settings come from the environment; `mana settings` lists them. Commands that need the database
    use DATABASE_ADMIN_URL, else DATABASE_URL, else the private server that `mana run` started.
    """
    if ignored := pins.forget_environment(os.environ):
        step(f"ignored, because the database's URL alone counts: {', '.join(ignored)}")


for command in (
    run.run,
    migrate.prepare,
    serve.serve,
    bench.bench,
    routes.routes,
    migrate.migrate,
    psql.psql,
    psql.dsn,
    backup.backup,
    backup.restore,
    backup.maintain,
    work.work,
    keys.keys,
    users.user,
    backends.backend,
    corrections.corrections,
    packages.package,
    purchases.purchase,
    ledger.ledger,
    settings.settings,
):
    main.add_command(command)
