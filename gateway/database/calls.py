"""What travels to the database and back: a Call of a Statement, and its Reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One SQL function, as it is called. There is one object for each function, which lanes compare by identity.

    A function that serves many takes arrays, with an element for each call, and returns a row for each. Its
    first parameter is the users' ids, its last one whether it waits for locks; else it leaves calls out.
    """

    name: str
    sql: str
    serves_many: bool = False
    hashes_password: bool = False  # it keeps a core busy for a third of a second
    names_user: bool = False  # the first parameter is the user's id
    looks: bool = False  # it looks after the database: it touches no table and goes before all others


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
    alone: bool = False  # its company failed
    waits: bool = False  # for locks: it was left out too often
    left_out: int = 0  # times
    not_before: float = 0.0  # when it may go again
