"""The variables that only `mana migrate`, `mana prepare` and `mana run` read."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.problems import OperatorError
from gateway.settings.parsers import whole
from gateway.settings.variables import Variable, read

MIGRATION_VARIABLES = (
    Variable("DATABASE_ADMIN_URL", "", "PostgreSQL, as an administrator, for migrations", secret=True),
    Variable("DATABASE_ADMIN_PASSWORD", "", "password for a DATABASE_ADMIN_URL without one", secret=True),
    Variable("MONITOR_PASSWORD", "", "password of role mana_monitor, which `mana prepare` creates", secret=True),
    Variable("CREDITS_SIGNUP_BONUS", "", "credits on registration, written at migration (150)"),
    Variable("CREDITS_DAILY_FREE", "", "credits every 24 hours, written at migration (5)"),
)


def grant_amount(environment: Mapping[str, str], name: str) -> int | None:
    """CREDITS_SIGNUP_BONUS or CREDITS_DAILY_FREE; None when it is not set. Raises OperatorError."""
    try:
        given = read(environment, name)
        return whole(0, 10**9)(given) if given else None
    except ValueError as error:
        raise OperatorError(f"{name} {error}") from error
