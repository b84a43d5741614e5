"""`mana backend`: which apps a trusted backend works for."""

from __future__ import annotations

import click

from gateway.operate.cli.environment import admin_url
from gateway.operate.cli.terminal import step
from gateway.operate.connecting import connect


@click.group()
def backend() -> None:
    """Bind the login roles of trusted backends to their apps."""


@backend.command()
@click.argument("role")
@click.argument("apps", nargs=-1)
def bind(role: str, apps: tuple[str, ...]) -> None:
    """Let ROLE spend for these APPS alone; '*' is every app, and without any it spends for none."""
    with connect(admin_url()) as connection:
        connection.execute("select credits.bind_backend(p_role => %s, p_app_ids => %s)", (role, list(apps)))
    step(f"{role} works for {', '.join(dict.fromkeys(apps)) or 'no app'}")


@backend.command("list")
def list_all() -> None:
    """Print each backend with its apps."""
    with connect(admin_url()) as connection:
        rows = connection.execute("select role_name, app_ids from credits.list_backends()").fetchall()
    for role, apps in rows:
        click.echo(f"{role}  {' '.join(apps) or '-'}")
