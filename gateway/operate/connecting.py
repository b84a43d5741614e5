"""Connections of an administrator: everything that their SQL depends on is pinned before its first statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from gateway.database import pins
from gateway.problems import OperatorError

CONNECT_TIMEOUT = 10  # seconds


def connect(url: str) -> psycopg.Connection:
    """A connection in autocommit. Raises OperatorError if it cannot connect, or pin a setting."""
    with connecting():
        connection = psycopg.connect(pins.conninfo(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT)
        try:
            for statement, arguments in pins.for_administrators(url):
                cursor = connection.execute(statement, arguments)
            _refuse(cursor.fetchall())
        except BaseException:
            connection.close()
            raise
    return connection


async def connect_async(url: str) -> psycopg.AsyncConnection[Any]:
    """A connection in autocommit. Raises OperatorError if it cannot connect, or pin a setting."""
    with connecting():
        connection = await psycopg.AsyncConnection.connect(
            pins.conninfo(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT
        )
        try:
            for statement, arguments in pins.for_administrators(url):
                cursor = await connection.execute(statement, arguments)
            _refuse(await cursor.fetchall())
        except BaseException:
            await connection.close()
            raise
    return connection


@contextmanager
def connecting() -> Iterator[None]:
    """Raises OperatorError with one line that explains why there is no connection."""
    try:
        yield
    except psycopg.ProgrammingError as error:
        if error.sqlstate:  # of the server, not about the URL
            raise OperatorError(f"cannot use the database: {error.diag.message_primary}") from error
        # Its text quotes the URL, and the URL has a password.
        raise OperatorError("the database's URL is not a valid one") from None
    except psycopg.OperationalError as error:
        raise OperatorError(f"cannot connect to the database: {str(error).splitlines()[0]}") from error


def _refuse(unpinned: Sequence[tuple[Any, ...]]) -> None:
    if unpinned:
        lines = [f"{name} must be {wanted or 'empty'}, and is {found or 'empty'}" for name, wanted, found in unpinned]
        raise OperatorError("\n".join(lines), hint="reset it for this role and this database, or let a superuser do so")
