"""`mana package`: what is for sale."""

from __future__ import annotations

import click

from gateway.operate.cli.environment import admin_url
from gateway.operate.cli.terminal import step
from gateway.operate.connecting import connect


@click.group()
def package() -> None:
    """Put packages of credits on sale, change their price, take them off sale."""


@package.command("list")
def listed() -> None:
    """List all packages, those off sale as well. Prices are in euro cents."""
    with connect(admin_url()) as connection:
        rows = connection.execute(
            "select name, credits, price_euro_cents, active, coalesce(stripe_price_id, '-')"
            "  from credits.packages order by sort_order, created_at"
        ).fetchall()
    for name, amount, price, active, stripe_price in rows:
        click.echo(f"{name:24}{amount:>12}{price:>10}  {'on sale ' if active else 'retired '}  {stripe_price}")


@package.command()
@click.argument("name")
@click.argument("amount", metavar="CREDITS", type=int)
@click.argument("price", type=int)
@click.option("--description", help="For buyers, up to 500 characters.")
@click.option("--stripe-price", help="Id of a price in Stripe's catalog; it has to be the same price.")
@click.option("--metadata", help="A JSON object that apps keep with it.")
@click.option("--sort", type=int, default=0, help="Packages are shown in this order.")
def add(
    *,
    name: str,
    amount: int,
    price: int,
    description: str | None,
    stripe_price: str | None,
    metadata: str | None,
    sort: int,
) -> None:
    """Put NAME on sale: so many CREDITS for PRICE euro cents."""
    with connect(admin_url()) as connection:
        [(package_id,)] = connection.execute(
            "select credits.add_package(%s, %s, %s, %s, %s, %s, %s)",
            (name, amount, price, description, stripe_price, metadata, sort),
        ).fetchall()
    click.echo(package_id)


@package.command()
@click.argument("name")
@click.argument("price", type=int)
@click.option("--stripe-price", help="Id of the new price in Stripe's catalog.")
def price(*, name: str, price: int, stripe_price: str | None) -> None:
    """Sell NAME for PRICE euro cents from now on."""
    with connect(admin_url()) as connection:
        connection.execute("select credits.change_package(%s, %s, %s)", (name, price, stripe_price))
    step(f"{name} costs {price} cents")


@package.command()
@click.argument("name")
def retire(name: str) -> None:
    """Take NAME off sale. Who has a page open to pay on may still pay."""
    with connect(admin_url()) as connection:
        connection.execute("select credits.change_package(%s, p_active => false)", (name,))
    step(f"{name} is off sale")


@package.command()
@click.argument("name")
def restore(name: str) -> None:
    """Put NAME on sale again."""
    with connect(admin_url()) as connection:
        connection.execute("select credits.change_package(%s, p_active => true)", (name,))
    step(f"{name} is on sale")
