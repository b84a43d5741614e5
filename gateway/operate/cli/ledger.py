"""`mana ledger`: the books."""

from __future__ import annotations

import sys

import click

from gateway.operate.cli.environment import admin_url
from gateway.operate.cli.terminal import step
from gateway.operate.migrate import connect

DISCREPANCIES = 3  # exit code of `ledger verify` when there are any


@click.group()
def ledger() -> None:
    """Check the books."""


@ledger.command()
def verify() -> None:
    """Check every balance, transaction and entry against the others; exit code 3 when something differs."""
    with connect(admin_url()) as connection:
        rows = connection.execute("select * from credits.verify_ledger()").fetchall()
    for user_id, transaction_id, problem, detail in rows:
        click.echo(f"{problem}  user {user_id}  transaction {transaction_id or '-'}  {detail}")
    if rows:
        sys.exit(DISCREPANCIES)
    step("the ledger is sound")
