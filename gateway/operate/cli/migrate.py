"""`mana migrate` and `mana prepare`: bring a database to this release."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from gateway.operate import migrate as migrating
from gateway.operate.cli.environment import admin_url, data_dir
from gateway.operate.cli.terminal import step
from gateway.settings.migration import grant_amount
from gateway.settings.variables import is_given, read_secret
from gateway.tokens.keys import KeyDirectory

_PASSWORDS = {
    "mana_gateway": "DATABASE_PASSWORD",
    "mana_worker": "WORKER_PASSWORD",
    migrating.MONITOR: "MONITOR_PASSWORD",
}


@click.command()
def prepare() -> None:
    """Do everything that `mana serve` needs done first: database, roles, keys. Then stop.

    Applies migrations, puts packages on sale if there are none, makes a signing key in DATA_DIR if there is
    none, and gives role mana_gateway the password of DATABASE_PASSWORD, role mana_worker that of
    WORKER_PASSWORD and role mana_monitor that of MONITOR_PASSWORD. Safe to repeat, and for two to run at the same time.
    """
    given = {role: read_secret(os.environ, name) for role, name in _PASSWORDS.items()}
    url = admin_url()
    prepare_database(os.environ, url, data_dir())
    migrating.set_passwords(url, {role: password for role, password in given.items() if password})
    step("done")


def prepare_database(environment: Mapping[str, str], url: str, directory: Path) -> None:
    """Make everything that a gateway expects at its start."""
    _migrate(url, environment)
    if count := migrating.seed_packages(url):
        step(f"{count} packages are on sale")
    if not is_given(environment, "JWT_PRIVATE_KEY") and KeyDirectory(directory / "keys").generate_first():
        step("made a signing key")


@click.group()
def migrate() -> None:
    """Bring the database to this release, or back."""


@migrate.command()
def status() -> None:
    """List all migrations and whether the database has them."""
    for migration in migrating.status(admin_url()):
        click.echo(f"{'applied' if migration.applied else 'missing'}  {migration.id}")


@migrate.command()
@click.option("--seed", is_flag=True, help="Put packages on sale if there are none.")
def apply(seed: bool) -> None:
    """Apply missing migrations, then write all functions and policies.

    Safe to run at any time, and for two to run at the same time. CREDITS_SIGNUP_BONUS and
    CREDITS_DAILY_FREE are written when they are set.
    """
    url = admin_url()
    _migrate(url, os.environ)
    if seed:
        step(f"{migrating.seed_packages(url)} packages were put on sale")
    step("done")


@migrate.command()
@click.option("--all", "everything", is_flag=True, help="All migrations: every table is dropped.")
@click.confirmation_option(prompt="This drops tables with all their data. Go on?")
def rollback(everything: bool) -> None:
    """Roll back the last migration, with its data, and drop all functions and policies.

    Afterwards run `mana migrate apply` from the release that the database is to match.
    """
    migrating.rollback(admin_url(), step, count=None if everything else 1)
    step("done")


def _migrate(url: str, environment: Mapping[str, str]) -> None:
    bonus = grant_amount(environment, "CREDITS_SIGNUP_BONUS")
    daily = grant_amount(environment, "CREDITS_DAILY_FREE")
    migrating.apply(url, step)
    if bonus is not None or daily is not None:
        migrating.configure_credits(url, bonus, daily)
        step("amounts of the grants")
