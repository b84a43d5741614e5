"""`mana settings`: what this environment configures."""

from __future__ import annotations

import os

import click

from gateway.problems import OperatorError
from gateway.settings.maintenance import MAINTENANCE_VARIABLES
from gateway.settings.migration import MIGRATION_VARIABLES
from gateway.settings.serving import Settings, load
from gateway.settings.variables import given_in, variables
from gateway.settings.working import WORK_VARIABLES


@click.command()
def settings() -> None:
    """List all settings, their values here, and what is wrong with them."""
    for variable in (*variables(Settings), *MIGRATION_VARIABLES, *MAINTENANCE_VARIABLES, *WORK_VARIABLES):
        value, file = (given_in(os.environ, name) for name in (variable.name, f"{variable.name}_FILE"))
        shown = "(set)" if value and variable.secret else value or f"({file or variable.default or 'not set'})"
        click.echo(f"{variable.name:26}{shown:24}{variable.about}")
    try:
        load(os.environ)
    except OperatorError as error:
        click.echo(f"\n`mana serve` would not start:\n{error}", err=True)
