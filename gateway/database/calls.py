"""What travels to the database and back: a Call of a Statement, and its Reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One SQL function, as it is called. There is one object for each function, which lanes compare by identity.

    A function that serves many takes arrays, with an element for each call, and returns a row for each. Its
    first parameter is the users' ids.
    """

    name: str
    sql: str
    serves_many: bool = False
    hashes_password: bool = False  # it keeps a core busy for a third of a second


@dataclass(frozen=True, slots=True)
class Reply:
    """What the function returned: the finished JSON text, headers for the client, events for the metrics."""

    status: int
    body: bytes
    headers: dict[str, str]
    events: str = ""  # as base.note_event leaves them


@dataclass(slots=True, eq=False)
class Call:
    """A statement with its arguments in PostgreSQL's text format, and the future of its reply."""

    statement: Statement
    arguments: Sequence[bytes | None]
    future: asyncio.Future[Reply]
    expires_at: float  # when it is given up, unless it was sent
    of_user: tuple[Statement, bytes | None] | None  # calls with the same one go one after the other
    alone: bool = False  # it went in company and was not served
