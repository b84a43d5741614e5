"""`mana purchase`: what administrators decide about what people have bought."""

from __future__ import annotations

from uuid import UUID

import click

from gateway.api.fields import given_email
from gateway.operate.cli.corrections import login_name
from gateway.operate.cli.environment import admin_url
from gateway.operate.cli.terminal import step
from gateway.operate.connecting import connect


@click.group()
def purchase() -> None:
    """Refund what people have bought."""


@purchase.command()
@click.argument("email")
@click.argument("purchase_id", type=click.UUID)
@click.option("--amount", type=int, help="In minor units of the currency; all that is left, if not given.")
@click.option(
    "--reason", default="requested_by_customer", show_default=True,
    help="As Stripe has it: requested_by_customer, duplicate or fraudulent.",
)  # fmt: skip
@click.option("--note", help="What colleagues have to know, up to 500 characters.")
@click.option("--actor", default=login_name, required=True, help="Who decides, if not your login name.")
def refund(*, email: str, purchase_id: UUID, amount: int | None, reason: str, note: str | None, actor: str) -> None:
    """Give the money of a purchase back, spent credits or not: what is short is debt.

    The worker asks Stripe for it. Until Stripe has been asked, a second run is the same refund.
    """
    with connect(admin_url()) as connection, connection.transaction():
        connection.execute("select auth.act_for_email(p_email => %s)", (given_email(email),))
        [(refund_id,)] = connection.execute(
            "select id from payments.request_refund(p_purchase_id => %s, p_amount => %s, p_reason => %s,"
            "                                       p_note => %s, p_actor => %s)",
            (purchase_id, amount, reason, note, actor),
        ).fetchall()
    click.echo(refund_id)
    step("the worker asks for it; see mana_work_refunds_total")
