"""`mana ledger`: the books."""

from __future__ import annotations

import asyncio
import sys

import click

from gateway.operate import ledger_marks
from gateway.operate.cli.environment import admin_url, data_dir
from gateway.operate.cli.terminal import step
from gateway.operate.connecting import connect_async

DISCREPANCIES = 3  # exit code of `ledger verify` when there are any


@click.group()
def ledger() -> None:
    """Check the books."""


@ledger.command()
@click.option("--accept", is_flag=True, help="Keep marks of the present state, after an earlier one was restored.")
def verify(accept: bool) -> None:
    """Check every balance, transaction and entry against the others; exit code 3 when something differs.

    Compares with the marks that `mana maintain` and `mana backup` keep in DATA_DIR, too: what is gone from all
    tables shows nowhere else.
    """
    lines = asyncio.run(_verify(admin_url(), accept))
    for line in lines:
        click.echo(line)
    if lines:
        sys.exit(DISCREPANCIES)
    step("the ledger is sound")


async def _verify(url: str, accept: bool) -> list[str]:
    async with await connect_async(url) as connection:
        cursor = await connection.execute("select * from credits.verify_ledger()")
        lines = [
            f"{problem}  user {user_id}  transaction {transaction_id or '-'}  {detail}"
            for user_id, transaction_id, problem, detail in await cursor.fetchall()
        ]
        file = await ledger_marks.file_of(connection, data_dir())
        found = await ledger_marks.read(connection, None if accept else ledger_marks.load(file))
    if accept and not lines:
        ledger_marks.keep(file, found.marks)
    return [*lines, *(f"below_the_marks  {line}" for line in found.fallen)]
