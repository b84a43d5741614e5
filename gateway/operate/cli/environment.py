"""Where the commands find the database and their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gateway.operate.local_postgres import read_url
from gateway.problems import OperatorError
from gateway.settings.variables import read, with_password


def data_dir() -> Path:
    """The directory of DATA_DIR. Raises OperatorError when the variable cannot be read."""
    try:
        return Path(read(os.environ, "DATA_DIR") or ".dev")
    except ValueError as error:
        raise OperatorError(f"DATA_DIR {error}") from error


def admin_url() -> str:
    """The administrator's URL of the database. Raises OperatorError when there is no database."""
    return (
        url(os.environ, "DATABASE_ADMIN_URL", "DATABASE_ADMIN_PASSWORD")
        or url(os.environ, "DATABASE_URL", "DATABASE_PASSWORD")
        or read_url(data_dir() / "postgres")
    )


def url(environment: Mapping[str, str], name: str, password_name: str) -> str:
    """The URL of one variable with the password of another; empty when it is not set. Raises OperatorError."""
    try:
        given = read(environment, name)
        return given and with_password(given, read(environment, password_name))
    except ValueError as error:
        raise OperatorError(f"{name} or {password_name} {error}") from error
