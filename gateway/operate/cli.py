"""The command line ``mana``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import click
import psycopg

from gateway import __version__, private_files
from gateway.http.bodies import new_email, new_password
from gateway.operate import backup as backups
from gateway.operate import local_postgres
from gateway.operate import migrate as migrating
from gateway.operate.local_postgres import LocalPostgres
from gateway.operate.stack import write_environment
from gateway.problems import OperatorError
from gateway.settings.maintenance import MAINTENANCE_VARIABLES, load_maintenance
from gateway.settings.migration import MIGRATION_VARIABLES, grant_amount
from gateway.settings.parsers import duration
from gateway.settings.serving import Settings, load
from gateway.settings.variables import is_given, read, read_secret, variables, with_password
from gateway.tokens import passwords
from gateway.tokens.keys import MINIMUM_BITS, PUBLISHED_FOR, KeyDirectory

FAILED = 1  # exit code of an error that has one clear line; click's own is 2
DISCREPANCIES = 3  # exit code of `ledger verify` when there are any

T = TypeVar("T")


class _Group(click.Group):
    """Turns the errors that an operator can put right into one clear line, a hint and an exit code."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except OperatorError as error:
            message, hint = str(error), error.hint
        except psycopg.Error as error:
            message, hint = _database_message(error), None
        except OSError as error:
            message, hint = f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), None
        for line in message.splitlines():
            click.secho(f"error: {line}", err=True, fg="red")
        if hint:
            click.echo(f"hint:  {hint}", err=True)
        sys.exit(FAILED)


def _database_message(error: psycopg.Error) -> str:
    """Our functions say in the detail what is wrong, in words; the message is a code for programs."""
    if (error.sqlstate or "").startswith("PT"):
        return error.diag.message_detail or str(error)
    return f"the database says: {error.diag.message_primary or str(error).strip()}"


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mana")
def main() -> None:
    """Mana Core Auth: who a person is, and what they may spend.

    Settings come from the environment; `mana settings` lists them. Commands that need the database
    use DATABASE_ADMIN_URL, else DATABASE_URL, else the private server that `mana run` started.
    """


# ---------------------------------------------------------------- running


@main.command()
def run() -> None:
    """Run everything here, for development: database, keys, migrations, gateway.

    The database is a private one in DATA_DIR (.dev), or the one of DATABASE_URL, given as an
    administrator's. Ctrl-C stops all of it; the data stays for the next time.
    """
    environment = dict(os.environ)
    data_dir = Path(environment.setdefault("DATA_DIR", ".dev"))
    # Others may pass through, not look: as root, the server runs under another account.
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    if is_given(environment, "DATABASE_URL"):
        _run_gateway(environment, _Database.given(environment, data_dir))
        return
    server = LocalPostgres(data_dir / "postgres")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        _step("starting PostgreSQL")
        server.start(_step)
        _run_gateway(environment, _Database(server.url, server.gateway_url))
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class _Database:
    """How to reach a database: as its administrator, and, once it is migrated, as the gateway."""

    admin_url: str
    gateway_url: Callable[[], str]

    @classmethod
    def given(cls, environment: Mapping[str, str], data_dir: Path) -> _Database:
        """The one of DATABASE_URL: the gateway's own where DATABASE_ADMIN_URL is set, too."""
        url = _url(environment, "DATABASE_URL", "DATABASE_PASSWORD")
        if is_given(environment, "DATABASE_ADMIN_URL"):
            return cls(_admin_url(), lambda: url)
        return cls(url, lambda: migrating.gateway_url(url, data_dir / "gateway_password"))


def _run_gateway(environment: dict[str, str], database: _Database) -> None:
    data_dir = Path(environment["DATA_DIR"])
    _prepare(environment, database.admin_url, data_dir)
    if not is_given(environment, "PASSWORD_PEPPER"):
        environment["PASSWORD_PEPPER"] = private_files.secret(data_dir / "pepper")
    environment["DATABASE_URL"] = database.gateway_url()
    environment.pop("DATABASE_URL_FILE", None)
    _serve(load(environment), _welcome)


def _prepare(environment: Mapping[str, str], admin_url: str, data_dir: Path) -> None:
    """Everything that a gateway finds there when it starts."""
    _migrate(admin_url, environment)
    if count := migrating.seed_packages(admin_url):
        _step(f"{count} packages are on sale")
    if not is_given(environment, "JWT_PRIVATE_KEY") and KeyDirectory(data_dir / "keys").generate_first():
        _step("made a signing key")


@main.command()
def prepare() -> None:
    """Do what has to be done before `mana serve`: database, roles, keys. Then stop.

    Applies migrations, puts packages on sale where there are none, makes a signing key in DATA_DIR where
    there is none, and gives role mana_gateway the password of DATABASE_PASSWORD, role mana_monitor that of
    MONITOR_PASSWORD. Safe to repeat, also by two at once.
    """
    given = {role: read_secret(os.environ, name) for role, name in _PASSWORDS.items()}
    url = _admin_url()
    _prepare(os.environ, url, _data_dir())
    migrating.set_passwords(url, {role: password for role, password in given.items() if password})
    _step("done")


_PASSWORDS = {"mana_gateway": "DATABASE_PASSWORD", migrating.MONITOR: "MONITOR_PASSWORD"}


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


@main.command()
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; WORKERS is the default.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; PORT is the default.")
def serve(workers: int | None, port: int | None) -> None:
    """Run the gateway on a database that is migrated.

    All settings come from the environment, and a missing or weak one stops the start. SIGTERM
    finishes the requests in flight.
    """
    environment = dict(os.environ)
    if workers is not None:
        environment["WORKERS"] = str(workers)
    if port is not None:
        environment["PORT"] = str(port)
    _serve(load(environment), lambda address: _step(f"serving at {address}"))


def _serve(loaded: Settings, announce: Callable[[str], None]) -> None:
    # Late, because it takes a moment that no other command has to wait for.
    from gateway.http.workers import serve as run_server  # noqa: PLC0415

    run_server(loaded, announce)


@main.command()
@click.argument("url", default="http://127.0.0.1:3001")
@click.option(
    "--seconds", default=5, show_default=True, type=click.IntRange(1, 120), help="Length of each measurement."
)
@click.option("--connections", default=32, show_default=True, type=click.IntRange(1, 1000), help="At a time.")
@click.option("--users", default=64, show_default=True, type=click.IntRange(1, 10_000), help="New users to do it with.")
def bench(url: str, seconds: int, connections: int, users: int) -> None:
    """Measure how fast the service at URL answers.

    It is asked over HTTP alone, by wrk, with users that it registers and that stay. Spends end early
    when their signup bonus is used up. Needs a service without rate limits (RATE_LIMIT_MAX=0).
    """
    from gateway.operate import bench as measuring  # noqa: PLC0415

    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("must begin with http:// or https://", param_hint="URL")
    rounds = measuring.run(url.rstrip("/"), seconds, connections, users, _step)
    click.echo(measuring.describe(rounds))
    if errors := sum(r.errors for r in rounds.values()):
        raise OperatorError(f"{errors} answers were not as they should be", hint="the log of the service says more")


# ---------------------------------------------------------------- database


@main.group()
def migrate() -> None:
    """Bring the database to this release, or back."""


@migrate.command()
def status() -> None:
    """List all migrations and whether the database has them."""
    for migration in migrating.status(_admin_url()):
        click.echo(f"{'applied' if migration.applied else 'missing'}  {migration.id}")


@migrate.command()
@click.option("--seed", is_flag=True, help="Put packages on sale where there are none.")
def apply(seed: bool) -> None:
    """Apply missing migrations, then write all functions and policies.

    Safe to run at any time, also by two at once. CREDITS_SIGNUP_BONUS and CREDITS_DAILY_FREE are
    written when they are set.
    """
    url = _admin_url()
    _migrate(url, os.environ)
    if seed:
        _step(f"{migrating.seed_packages(url)} packages were put on sale")
    _step("done")


def _migrate(url: str, environment: Mapping[str, str]) -> None:
    bonus = grant_amount(environment, "CREDITS_SIGNUP_BONUS")
    daily = grant_amount(environment, "CREDITS_DAILY_FREE")
    migrating.apply(url, _step)
    if bonus is not None or daily is not None:
        migrating.configure_credits(url, bonus, daily)
        _step("amounts of the grants")


@migrate.command()
@click.option("--all", "everything", is_flag=True, help="All migrations: every table is dropped.")
@click.confirmation_option(prompt="This drops tables with what is in them. Go on?")
def rollback(everything: bool) -> None:
    """Take back the last migration, with its data, and all functions and policies.

    Afterwards run `mana migrate apply` from the release that the database is to match.
    """
    migrating.rollback(_admin_url(), _step, count=None if everything else 1)
    _step("done")


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database as its administrator; ARGUMENTS are psql's."""
    try:
        url = urlsplit(_admin_url())
    except ValueError as error:
        raise OperatorError("the database's URL is not a valid one") from error
    binary = shutil.which("psql") or str(local_postgres.find_binaries() / "psql")
    # The password goes through the environment: a command line is everybody's to read.
    without = urlunsplit(
        url._replace(netloc=url.netloc.replace(f":{url.password}@", "@") if url.password else url.netloc)
    )
    environment = {**os.environ, **({"PGPASSWORD": unquote(url.password)} if url.password else {})}
    sys.stdout.flush()
    os.execvpe(binary, [binary, "--no-psqlrc", without, *arguments], environment)  # noqa: S606


@main.command()
def dsn() -> None:
    """Print the administrator's connection string, password included."""
    click.echo(_admin_url())


def _admin_url() -> str:
    return (
        _url(os.environ, "DATABASE_ADMIN_URL", "DATABASE_ADMIN_PASSWORD")
        or _url(os.environ, "DATABASE_URL", "DATABASE_PASSWORD")
        or local_postgres.read_url(_data_dir() / "postgres")
    )


def _url(environment: Mapping[str, str], name: str, password_name: str) -> str:
    try:
        url = read(environment, name)
        return url and with_password(url, read(environment, password_name))
    except ValueError as error:
        raise OperatorError(f"{name} or {password_name} {error}") from error


def _data_dir() -> Path:
    return Path(os.environ.get("DATA_DIR") or ".dev")


# ---------------------------------------------------------------- backups


def _moment(value: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("must be a time such as 2026-11-22 11:35:07+01:00") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


@main.group(invoke_without_command=True)
@click.pass_context
def backup(context: click.Context) -> None:
    """Take a backup with pgBackRest, restore it into a scratch server and check it there.

    Every page and index with pg_amcheck, the books with credits.verify_ledger(). When it is good, all but the
    newest BACKUP_KEEP go; until then the older ones stay. It is encrypted with BACKUP_PASSPHRASE. The scratch
    server is in DATA_DIR, which needs room for the whole database.
    """
    if context.invoked_subcommand is None:
        loaded = load_maintenance(os.environ)
        _until_stopped(backups.back_up(_admin_url(), loaded, _step))


@backup.command("list")
def list_backups() -> None:
    """List what is in the repository: when it was complete, sizes, whether it passed its checks."""
    passphrase = load_maintenance(os.environ).passphrase
    for found in _until_stopped(backups.listed(passphrase)):
        checked = f"checked {found.checked:%Y-%m-%d %H:%M:%SZ}" if found.checked else "not checked"
        click.echo(f"{found.finished:%Y-%m-%d %H:%M:%SZ}  {found}, {checked}")


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--to", type=_moment, metavar="TIME", help="The moment to go back to; UTC where it has no offset.")
@click.option("--check", is_flag=True, help="Start a private server on it, and check it as `mana backup` does.")
def restore(directory: Path, to: datetime | None, check: bool) -> None:
    """Restore the database into DIRECTORY, which is empty or not there.

    As it was last, or at any moment since the first backup ended. Start a server on DIRECTORY that has
    pgBackRest's configuration and BACKUP_PASSPHRASE as the one before: it takes the last changes from the archive.
    """
    passphrase = load_maintenance(os.environ).passphrase
    # For its names alone.
    url = _url(os.environ, "DATABASE_ADMIN_URL", "DATABASE_ADMIN_PASSWORD") or "postgresql://postgres@/mana"
    _until_stopped(backups.restore(directory.resolve(), passphrase, to, _step, check_as=url if check else None))
    _step(f"start PostgreSQL on {directory}")


@main.command()
def maintain() -> None:
    """Take backups and check the books on a schedule, for as long as it runs.

    Every BACKUP_EVERY what `mana backup` does, every LEDGER_EVERY what `mana ledger verify` does. Metrics
    are on MAINTENANCE_PORT.
    """
    # Late, because it takes a moment that no other command has to wait for.
    from gateway import logs  # noqa: PLC0415
    from gateway.operate import maintain  # noqa: PLC0415

    loaded = load_maintenance(os.environ)
    logs.configure(loaded.log_level)
    with contextlib.suppress(asyncio.CancelledError):  # SIGTERM is how it ends
        backups.interruptible(maintain.maintain(_admin_url(), loaded))


def _until_stopped(work: Coroutine[Any, Any, T]) -> T:
    try:
        return backups.interruptible(work)
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


# ---------------------------------------------------------------- keys


@main.group()
def keys() -> None:
    """Make and rotate the keys that sign access tokens (in DATA_DIR/keys)."""


_bits = click.option("--bits", default=MINIMUM_BITS, show_default=True, help="Size; a larger key signs more slowly.")


def _key_directory() -> KeyDirectory:
    return KeyDirectory(_data_dir() / "keys")


@keys.command()
@_bits
@click.option("--env", "environment", is_flag=True, help="Write .env for the stack instead, with all of its secrets.")
@click.option("--secrets", type=click.Path(file_okay=False, path_type=Path), metavar="DIRECTORY",
              help="With --env: keep the secrets in files there, for deploy/compose.secrets.yml.")  # fmt: skip
def generate(bits: int, environment: bool, secrets: Path | None) -> None:
    """Make the first key. It signs at once.

    With --env: write .env for docker compose, each secret drawn at random. What is there already stays.
    """
    if secrets and not environment:
        raise click.UsageError("--secrets goes with --env")
    if not environment:
        click.echo(_key_directory().generate(bits))
        return
    write_environment(Path(".env"), secrets)
    _step("wrote .env; set DOMAIN in it")


@keys.command()
@_bits
@click.option(
    "--lead", default=2 * PUBLISHED_FOR, show_default=True, type=click.IntRange(min=5),
    help="Seconds for which the new key is published before it signs.",
)  # fmt: skip
@click.option(
    "--token-ttl", default="15m", show_default=True, envvar="JWT_ACCESS_TOKEN_EXPIRY", show_envvar=True,
    type=duration, metavar="DURATION",
    help="Lifetime of access tokens: the old key verifies for that long after its last signature.",
)  # fmt: skip
def rotate(bits: int, lead: int, token_ttl: timedelta) -> None:
    """Publish a new key, to sign once every cache has it, and retire the ones before.

    Running gateways take it up by themselves, and no request fails.
    """
    ttl = int(token_ttl.total_seconds())
    entry = _key_directory().rotate(bits, lead, ttl)
    click.echo(entry.kid)
    _step(f"published now, signs in {lead} seconds; the keys before it verify {ttl + 60} seconds longer")


@keys.command("list")
def list_keys() -> None:
    """List all keys: published, signing, retiring."""
    for line in _key_directory().describe():
        click.echo(line)


# ---------------------------------------------------------------- users, ledger, settings


@main.group()
def user() -> None:
    """Create users, give them rights, close accounts."""


@user.command()
@click.argument("email")
@click.option("--name")
@click.option("--password", envvar="MANA_USER_PASSWORD", prompt=True, hide_input=True, confirmation_prompt=True,
              help="Asked for when left out; MANA_USER_PASSWORD works too.")  # fmt: skip
def create(email: str, name: str | None, password: str) -> None:
    """Register a user, as POST /auth/register does."""
    try:
        address, checked = new_email(email), new_password(password)
    except ValueError as error:
        raise OperatorError(str(error)) from error
    digest = passwords.digest(_pepper(), checked)
    with _admin() as connection:
        row = connection.execute(
            "select id from auth.register_user(p_email => %s, p_password_digest => %s, p_name => %s)",
            (address, digest, name),
        ).fetchone()
    click.echo(row[0] if row else "")


def _pepper() -> str:
    if pepper := read_secret(os.environ, "PASSWORD_PEPPER"):
        return pepper
    stored = _data_dir() / "pepper"
    if not stored.exists():
        raise OperatorError("PASSWORD_PEPPER is not set", hint="it must be the one that the gateway has")
    return private_files.secret(stored)


@user.command("make-admin")
@click.argument("email")
def make_admin(email: str) -> None:
    """Give a user the role admin, from their next refresh on."""
    with _admin() as connection:
        connection.execute("select auth.set_role(p_email => %s, p_role => 'admin')", (email,))
    _step(f"{email} is an admin now")


@user.command()
@click.argument("email")
def disable(email: str) -> None:
    """Close an account: all its sessions end at once. Nothing is deleted."""
    _set_disabled(email, disabled=True)
    _step(f"{email} is disabled, all sessions have ended")


@user.command()
@click.argument("email")
def enable(email: str) -> None:
    """Open a disabled account again."""
    _set_disabled(email, disabled=False)
    _step(f"{email} is enabled")


def _set_disabled(email: str, *, disabled: bool) -> None:
    with _admin() as connection:
        connection.execute("select auth.set_disabled(p_email => %s, p_disabled => %s)", (email, disabled))


@main.group()
def ledger() -> None:
    """Check the books."""


@ledger.command()
def verify() -> None:
    """Check every balance, transaction and entry against the others; exit code 3 when something differs."""
    with _admin() as connection:
        rows = connection.execute("select * from credits.verify_ledger()").fetchall()
    for user_id, transaction_id, problem, detail in rows:
        click.echo(f"{problem}  user {user_id}  transaction {transaction_id or '-'}  {detail}")
    if rows:
        sys.exit(DISCREPANCIES)
    _step("the ledger is sound")


@main.command("settings")
def show_settings() -> None:
    """List all settings, what they are here, and what is wrong with them."""
    for variable in (*variables(Settings), *MIGRATION_VARIABLES, *MAINTENANCE_VARIABLES):
        value, file = os.environ.get(variable.name), os.environ.get(f"{variable.name}_FILE")
        shown = "(set)" if value and variable.secret else value or f"({file or variable.default or 'not set'})"
        click.echo(f"{variable.name:26}{shown:24}{variable.about}")
    try:
        load(os.environ)
    except OperatorError as error:
        click.echo(f"\n`mana serve` would not start:\n{error}", err=True)


def _admin() -> psycopg.Connection:
    return migrating.connect(_admin_url())


def _step(text: str) -> None:
    click.echo(f"- {text}", err=True)
