"""What acts on a database in SQL: trusted backends, and transactions that are in the way."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from gateway.database.connections import array_literal
from harness.databases import Database


@contextlib.contextmanager
def backend_login(database: Database, apps: Sequence[str] = ("*",), schema: str = "shop") -> Iterator[str]:
    """The URL of a trusted backend: a login role in mana_backend with a table ``orders`` in a schema of its own.

    It is bound to ``apps``, if there are any.
    """
    name, password = f"shop_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    with database.connect() as connection:
        connection.execute(f"create role {name} login password '{password}' in role mana_backend".encode())
        if apps:
            connection.execute("select credits.bind_backend(%s, %s)", (name, list(apps)))
        connection.execute(f"create schema {schema} authorization {name}; set role {name}".encode())
        connection.execute(
            f"create table {schema}.orders (user_id uuid not null, transaction_id uuid not null)".encode()
        )
    parts = urlsplit(database.admin_url)
    try:
        yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
    finally:
        with database.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (name,)
            )
            # A test of deploys may have failed before this was there.
            if connection.execute("select to_regproc('credits.bind_backend')").fetchone() != (None,):
                connection.execute("select credits.bind_backend(%s, '{}')", (name,))
            connection.execute(f"drop owned by {name}; drop role {name}".encode())


@contextlib.contextmanager
def held_balance(database: Database, user_id: str) -> Iterator[psycopg.Connection[Any]]:
    """Another transaction holds the user's balance, so that a spend has to wait."""
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("select from credits.balances where user_id = %s for update", (user_id,))
        yield connection


def waiting_for_a_lock(database: Database) -> int:
    rows = database.query(
        "select count(*) from pg_stat_activity where usename = 'mana_gateway' and wait_event_type = 'Lock'"
        " and datname = current_database()"
    )
    return int(rows[0][0])


def as_array(values: Sequence[object]) -> str:
    """An argument of a function that serves many users, as the gateway sends it: an element for each call."""
    return array_literal([None if value is None else str(value).encode() for value in values]).decode()
