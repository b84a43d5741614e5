"""`mana user`: accounts, as an administrator changes them."""

from __future__ import annotations

import json
import os
from typing import cast

import click

from gateway import private_files
from gateway.api.fields import given_email
from gateway.api.users import Register
from gateway.http.parsing import form_of, parse_body
from gateway.operate.cli.environment import admin_url, data_dir
from gateway.operate.cli.terminal import step
from gateway.operate.connecting import connect
from gateway.problems import OperatorError, Problem
from gateway.settings.variables import read_secret
from gateway.tokens import passwords
from gateway.tokens.weak_passwords import weakness


@click.group()
def user() -> None:
    """Create users, give them rights, close accounts."""


@user.command()
@click.argument("email")
@click.option("--name")
@click.option("--password", envvar="MANA_USER_PASSWORD", prompt=True, hide_input=True, confirmation_prompt=True,
              help="Without it the command reads MANA_USER_PASSWORD or asks.")  # fmt: skip
def create(email: str, name: str | None, password: str) -> None:
    """Register a user, as POST /auth/register does."""
    given = json.dumps({"email": email, "password": password, "name": name}).encode()
    try:
        user = cast("Register", parse_body(given, form_of(Register), {}))
    except Problem as problem:
        raise OperatorError(problem.detail.replace("; ", "\n")) from problem
    if reason := weakness(user.password, (user.email, user.name)):
        raise OperatorError(f"password: is too easy to guess: {reason}")
    digest = passwords.digest(_pepper(), user.password)
    with connect(admin_url()) as connection:
        row = connection.execute(
            "select id from auth.register_user(p_email => %s, p_password_digest => %s, p_name => %s)",
            (user.email, digest, user.name),
        ).fetchone()
    click.echo(row[0] if row else "")


def _pepper() -> str:
    if pepper := read_secret(os.environ, "PASSWORD_PEPPER"):
        return pepper
    stored = data_dir() / "pepper"
    if not stored.exists():
        raise OperatorError("PASSWORD_PEPPER is not set", hint="set it to the value that the gateway has")
    return private_files.secret(stored)


@user.command("make-admin")
@click.argument("email")
def make_admin(email: str) -> None:
    """Give a user the role admin, from their next refresh on."""
    with connect(admin_url()) as connection:
        connection.execute("select auth.set_role(p_email => %s, p_role => 'admin')", (given_email(email),))
    step(f"{email} is an admin now")


@user.command()
@click.argument("email")
def disable(email: str) -> None:
    """Close an account: all its sessions end at once. Nothing is deleted."""
    _set_disabled(email, disabled=True)
    step(f"{email} is disabled, all sessions have ended")


@user.command()
@click.argument("email")
def enable(email: str) -> None:
    """Open a disabled account again."""
    _set_disabled(email, disabled=False)
    step(f"{email} is enabled")


def _set_disabled(email: str, *, disabled: bool) -> None:
    with connect(admin_url()) as connection:
        connection.execute("select auth.set_disabled(p_email => %s, p_disabled => %s)", (given_email(email), disabled))
