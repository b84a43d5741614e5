"""`mana run`: everything that development needs, in one process tree."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
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
from gateway.problems import OperatorError
from gateway.settings.parsers import DOUBLE
from gateway.settings.serving import load
from gateway.settings.variables import is_given

_DOUBLE = Path(__file__).resolve().parents[3] / "tests"
_WEBHOOK = "/api/v1/webhooks/stripe"
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
        _run_gateway(
            environment,
            _Database(server.url, server.gateway_url, lambda: _worker_url(server.url, directory)),
            directory,
        )
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class _Database:
    """How to reach a database: as its administrator and, once it is migrated, as the gateway."""

    admin_url: str
    gateway_url: Callable[[], str]
    worker_url: Callable[[], str]

    @classmethod
    def given(cls, environment: Mapping[str, str], directory: Path) -> _Database:
        """The database of DATABASE_URL. That URL is the gateway's own if DATABASE_ADMIN_URL is set as well."""
        given = url(environment, "DATABASE_URL", "DATABASE_PASSWORD")
        if is_given(environment, "DATABASE_ADMIN_URL"):
            return cls(admin_url(), lambda: given, lambda: _worker_url(admin_url(), directory))
        return cls(
            given,
            lambda: migrate.gateway_url(given, directory / "gateway_password"),
            lambda: _worker_url(given, directory),
        )


def _worker_url(admin: str, directory: Path) -> str:
    return migrate.login_url(admin, directory / "worker_password", "mana_worker", "WORKER_DATABASE_URL")


def _run_gateway(environment: dict[str, str], database: _Database, directory: Path) -> None:
    prepare_database(environment, database.admin_url, directory)
    if not is_given(environment, "PASSWORD_PEPPER"):
        environment["PASSWORD_PEPPER"] = private_files.secret(directory / "pepper")
    for name, value in FOR_DEVELOPMENT.items():
        if not is_given(environment, name):
            environment[name] = value
    environment["DATABASE_URL"] = database.gateway_url()
    environment.pop("DATABASE_URL_FILE", None)
    with contextlib.ExitStack() as beside:
        if is_given(environment, "STRIPE_SECRET_KEY"):
            _sell(environment, database, directory, beside)
        start_gateway(load(environment), _welcome)


def _sell(environment: dict[str, str], database: _Database, directory: Path, beside: contextlib.ExitStack) -> None:
    """Start the worker and, for the key ``double``, a stand-in for Stripe."""
    address = f"http://127.0.0.1:{environment.get('PORT') or 3001}"
    if not is_given(environment, "PUBLIC_URL"):
        environment["PUBLIC_URL"] = address
    if environment.get("STRIPE_SECRET_KEY") == DOUBLE:
        environment["STRIPE_SECRET_KEY"] = "sk_test_of_the_double"
        environment["STRIPE_WEBHOOK_SECRET"] = "whsec_" + secrets.token_hex(16)
        environment["STRIPE_API_BASE"] = beside.enter_context(_double(environment, address))
    if not is_given(environment, "WORKER_DATABASE_URL"):
        environment["WORKER_DATABASE_URL"] = database.worker_url()
    step("starting the worker")
    beside.enter_context(_beside([sys.executable, "-m", "gateway", "work"], {"WORKER_PORT": "0", **environment}))


@contextlib.contextmanager
def _beside(
    command: list[str], environment: Mapping[str, str], stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process that Ctrl-C reaches through us alone."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _double(environment: Mapping[str, str], address: str) -> Iterator[str]:
    """The stand-in for Stripe, which sends its events to the address; yields its own."""
    if not (_DOUBLE / "harness" / "stripe_double").is_dir():
        raise OperatorError("STRIPE_SECRET_KEY=double needs a checkout of the repository, with its tests")
    command = [sys.executable, "-m", "harness.stripe_double", "--webhook", f"{address}{_WEBHOOK}"]
    command += ["--secret", environment["STRIPE_WEBHOOK_SECRET"]]
    with _beside(command, {**environment, "PYTHONPATH": str(_DOUBLE)}, subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else ""
        if " at " not in line:
            raise OperatorError("the stand-in for Stripe did not start")
        step(line.strip())
        yield line.rpartition(" ")[2].strip()


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
