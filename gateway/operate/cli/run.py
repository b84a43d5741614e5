"""`mana run`: everything that development needs, in one process tree."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from gateway import private_files
from gateway.operate import migrate
from gateway.operate.cli.environment import admin_url, data_dir, url
from gateway.operate.cli.migrate import prepare_database
from gateway.operate.cli.serve import start_gateway
from gateway.operate.cli.terminal import step
from gateway.operate.local_postgres import LocalPostgres
from gateway.settings.serving import load
from gateway.settings.variables import is_given

FOR_DEVELOPMENT = {"CORS_ORIGINS": "http://localhost:*,http://127.0.0.1:*", "DEVELOPMENT_ADDRESSES": "yes"}


@click.command()
def run() -> None:
    """Run everything here, for development: database, keys, migrations, gateway.

    The database is a private one in DATA_DIR (.dev), or the one of DATABASE_URL, which is then an
    administrator's URL. Ctrl-C stops all of it; the data stays for the next time.
    """
    environment = dict(os.environ)
    directory = data_dir()
    # Other accounts may pass through but not list it: when we are root, the server runs as another account.
    directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    if is_given(environment, "DATABASE_URL"):
        _run_gateway(environment, _Database.given(environment, directory), directory)
        return
    server = LocalPostgres(directory / "postgres")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        step("starting PostgreSQL")
        server.start(step)
        _run_gateway(environment, _Database(server.url, server.gateway_url), directory)
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class _Database:
    """How to reach a database: as its administrator and, once it is migrated, as the gateway."""

    admin_url: str
    gateway_url: Callable[[], str]

    @classmethod
    def given(cls, environment: Mapping[str, str], directory: Path) -> _Database:
        """The database of DATABASE_URL. That URL is the gateway's own if DATABASE_ADMIN_URL is set as well."""
        given = url(environment, "DATABASE_URL", "DATABASE_PASSWORD")
        if is_given(environment, "DATABASE_ADMIN_URL"):
            return cls(admin_url(), lambda: given)
        return cls(given, lambda: migrate.gateway_url(given, directory / "gateway_password"))


def _run_gateway(environment: dict[str, str], database: _Database, directory: Path) -> None:
    prepare_database(environment, database.admin_url, directory)
    if not is_given(environment, "PASSWORD_PEPPER"):
        environment["PASSWORD_PEPPER"] = private_files.secret(directory / "pepper")
    for name, value in FOR_DEVELOPMENT.items():
        if not is_given(environment, name):
            environment[name] = value
    environment["DATABASE_URL"] = database.gateway_url()
    environment.pop("DATABASE_URL_FILE", None)
    start_gateway(load(environment), _welcome)


def _welcome(address: str) -> None:
    click.echo(
        f"""
Mana Core Auth answers at {address}
  API page   {address}/docs
  database   make psql
  stop       Ctrl-C; the data stays

Try:
  curl -s {address}/api/v1/auth/register -H 'Content-Type: application/json' \\
       -d '{{"email":"ada@example.com","password":"correct horse battery"}}'
"""
    )
