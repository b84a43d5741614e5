"""What a person at the terminal sees beside a command's output: steps and errors, both on standard error."""

from __future__ import annotations

import sys

import click
import psycopg

from gateway.problems import OperatorError

FAILED = 1  # exit code of an error that has one clear line; click's own is 2


def step(text: str) -> None:
    """Report one step of a command."""
    click.echo(f"- {text}", err=True)


class Group(click.Group):
    """Turns each error that an operator can correct into one clear line, a hint and an exit code."""

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
    """Our functions explain a refusal in its detail; the message is a code for programs."""
    if (error.sqlstate or "").startswith("PT"):
        return error.diag.message_detail or str(error)
    return f"the database says: {error.diag.message_primary or str(error).strip()}"
