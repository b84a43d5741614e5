"""`mana credits`: what administrators decide about a balance, each time with a reason and a name."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any, LiteralString
from uuid import UUID, uuid4

import click

from gateway.api.fields import given_email
from gateway.operate.cli.environment import admin_url
from gateway.operate.cli.terminal import step
from gateway.operate.connecting import connect


def login_name() -> str | None:
    """Who runs this command, if the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have none
        return None


def _decision(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every decision has."""
    for option in (
        click.option("--key", default=lambda: str(uuid4()),
                     help="Tells a retry; without it, each run is a decision of its own."),
        click.option("--actor", default=login_name, required=True, help="Who decides, if not your login name."),
        click.option("--note", help="What colleagues have to know, up to 500 characters."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group("credits")
def corrections() -> None:
    """Give users credits, take some, give back what a spend charged."""


@corrections.command(context_settings={"ignore_unknown_options": True})  # a negative amount is no option
@click.argument("email")
@click.argument("amount", type=int)
@click.option("--reason", required=True, help="goodwill, correction, promotion, fraud, migration or other.")
@click.option("--free", is_flag=True, help="Free credits, not paid ones.")
@click.option("--approved-by", help="The second administrator, who is needed above 10,000 credits.")
@_decision
def adjust(
    *, email: str, amount: int, reason: str, free: bool, approved_by: str | None, note: str | None, actor: str, key: str
) -> None:
    """Give a user AMOUNT credits, or take so many if it is negative, but no more than there are."""
    _decide(
        email,
        "select id, amount, free_credits_remaining, balance, replayed"
        "  from credits.adjust(p_actor => %s, p_amount => %s, p_reason => %s, p_idempotency_key => %s,"
        "                      p_pool => %s, p_note => %s, p_approved_by => %s)",
        (actor, amount, reason, key, "free" if free else "paid", note, approved_by),
    )


@corrections.command()
@click.argument("email")
@click.argument("transaction_id", type=click.UUID)
@click.option("--amount", type=int, help="All that is left of the spend, if not given.")
@click.option("--reason", required=True, help="failed, duplicate, dispute, goodwill or other.")
@_decision
def reverse(
    *, email: str, transaction_id: UUID, amount: int | None, reason: str, note: str | None, actor: str, key: str
) -> None:
    """Give back what a spend charged, to the free and paid credits that it came from."""
    _decide(
        email,
        "select id, amount, free_credits_remaining, balance, replayed"
        "  from credits.reverse_spend_as(p_actor => %s, p_transaction_id => %s, p_reason => %s,"
        "                                p_idempotency_key => %s, p_amount => %s, p_note => %s)",
        (actor, transaction_id, reason, key, amount, note),
    )


def _decide(email: str, call: LiteralString, arguments: tuple[Any, ...]) -> None:
    """Make this call for the user; print the transaction's id."""
    with connect(admin_url()) as connection, connection.transaction():
        connection.execute("select auth.act_for_email(p_email => %s)", (given_email(email),))
        [(transaction_id, amount, free, paid, replayed)] = connection.execute(call, arguments).fetchall()
    click.echo(transaction_id)
    before = "was done before: " if replayed else ""
    step(f"{before}{amount:+} for {email}, who had {free} free and {paid} paid credits then")
