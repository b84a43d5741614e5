"""`mana backup`, `mana restore` and `mana maintain`: what keeps the data safe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.operate import backup as backups
from gateway.operate.cli.environment import admin_url, url
from gateway.operate.cli.terminal import step
from gateway.operate.interruptible import interruptible
from gateway.settings.maintenance import load_maintenance

T = TypeVar("T")


def _moment(value: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("must be a time such as 2026-11-22 11:35:07+01:00") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


@click.group(invoke_without_command=True)
@click.pass_context
def backup(context: click.Context) -> None:
    """Take a backup with pgBackRest, restore it into a scratch server and check it there.

    pg_amcheck checks every page and index, credits.verify_ledger() the books. When the backup has passed, all
    but the newest BACKUP_KEEP are deleted; until then the older ones stay. BACKUP_PASSPHRASE encrypts it. The
    scratch server is in DATA_DIR, which needs space for the whole database.
    """
    if context.invoked_subcommand is None:
        loaded = load_maintenance(os.environ)
        _until_stopped(backups.back_up(admin_url(), loaded, step))


@backup.command("list")
def list_backups() -> None:
    """List the backups in the repository: completion time, sizes, result of the check."""
    passphrase = load_maintenance(os.environ).passphrase
    for found in _until_stopped(backups.listed(passphrase)):
        checked = f"checked {found.checked:%Y-%m-%d %H:%M:%SZ}" if found.checked else "not checked"
        click.echo(f"{found.finished:%Y-%m-%d %H:%M:%SZ}  {found}, {checked}")


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--to", type=_moment, metavar="TIME", help="The moment to restore; UTC if it has no offset.")
@click.option("--check", is_flag=True, help="Start a private server on it and check it as `mana backup` does.")
def restore(directory: Path, to: datetime | None, check: bool) -> None:
    """Restore the database into DIRECTORY, which must be empty or missing.

    Restores the latest state, or any moment since the first backup ended. Then start a server on DIRECTORY
    with the same pgBackRest configuration and BACKUP_PASSPHRASE as before: it reads the last changes from the
    archive.
    """
    passphrase = load_maintenance(os.environ).passphrase
    # Only the names of the user and of the database are needed.
    named = url(os.environ, "DATABASE_ADMIN_URL", "DATABASE_ADMIN_PASSWORD") or "postgresql://postgres@/mana"
    _until_stopped(backups.restore(directory.resolve(), passphrase, to, step, check_as=named if check else None))
    step(f"start PostgreSQL on {directory}")


@click.command()
def maintain() -> None:
    """Take backups and check the books on a schedule, until it is stopped.

    Does the work of `mana backup` every BACKUP_EVERY and that of `mana ledger verify` every LEDGER_FULL_EVERY.
    Checks what is new in the ledger every LEDGER_EVERY. Serves metrics on MAINTENANCE_PORT.
    """
    # Late: these imports take a moment, and other commands need not wait for them.
    from gateway import logs  # noqa: PLC0415
    from gateway.operate import maintain  # noqa: PLC0415

    loaded = load_maintenance(os.environ)
    logs.configure(loaded.log_level)
    with contextlib.suppress(asyncio.CancelledError):  # SIGTERM is how it ends
        interruptible(maintain.maintain(admin_url(), loaded))


def _until_stopped(work: Coroutine[Any, Any, T]) -> T:
    try:
        return interruptible(work)
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
