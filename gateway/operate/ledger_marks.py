"""Marks of the books that are kept outside the database, and that no later state may be below.

Rows that are lost from all tables at once leave the rest in agreement, so no check inside sees it: the last
movements of an account, a user with all rows, everything. The marks are in DATA_DIR and in the annotations
of the backups. They only grow: nothing deletes from the ledger, and a deleted user keeps account and
movements. So they fall when rows were lost, or when an earlier moment was restored; ``accept`` is for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString, Self

import psycopg

from gateway import private_files
from gateway.problems import OperatorError

COUNTED = ("users", "accounts", "movements", "earned", "spent")
_IDENTITY: LiteralString = (
    "select system_identifier::text || '-' || oid from pg_control_system(), pg_database"
    " where datname = current_database()"
)
_READ: LiteralString = "select * from credits.read_marks(%s, %s)"


@dataclass(frozen=True, slots=True)
class Marks:
    """Counts, sums of credits, and the newest movement; ``full`` is when a full check was last sound."""

    users: int
    accounts: int
    movements: int
    earned: int
    spent: int
    user_id: str | None
    transaction_id: str | None
    full: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError or TypeError when this is not what ``str`` wrote."""
        content: dict[str, Any] = json.loads(text)
        full = content.pop("full")
        return cls(**content, full=full and datetime.fromisoformat(full))

    def __str__(self) -> str:
        content = {name: getattr(self, name) for name in (*COUNTED, "user_id", "transaction_id")}
        return json.dumps({**content, "full": self.full and self.full.isoformat()}, separators=(",", ":"))

    def raised(self, other: Marks) -> Marks:
        """The higher of both, and the newest movement of this one."""
        return replace(self, **{name: max(getattr(self, name), getattr(other, name)) for name in COUNTED})


@dataclass(frozen=True, slots=True)
class Found:
    """The marks of a database, and what fell below those it was compared with: one line each."""

    marks: Marks
    fallen: tuple[str, ...]


async def read(connection: psycopg.AsyncConnection[Any], kept: Marks | None) -> Found:
    """Read the marks of a database and compare them with those kept of it."""
    newest = (kept.user_id, kept.transaction_id) if kept else (None, None)
    row = await (await connection.execute(_READ, newest)).fetchone() or (0,) * 8
    users, accounts, movements, earned, spent = (int(count) for count in row[:5])
    user_id, transaction_id = (str(row[5]), str(row[6])) if row[6] else (None, None)
    full = kept.full if kept else None
    marks = Marks(users, accounts, movements, earned, spent, user_id, transaction_id, full)
    if kept is None:
        return Found(marks, ())
    fallen = [
        f"{name} fell to {getattr(marks, name)}, there were {getattr(kept, name)}"
        for name in COUNTED
        if getattr(marks, name) < getattr(kept, name)
    ]
    if not row[7]:
        fallen.append(f"movement {kept.transaction_id} of user {kept.user_id} is gone")
    return Found(marks, tuple(fallen))


async def file_of(connection: psycopg.AsyncConnection[Any], data_dir: Path) -> Path:
    """Where the marks of a database are kept, known by its server and itself: a restored copy is the same one."""
    row = await (await connection.execute(_IDENTITY)).fetchone()
    return data_dir / "ledger" / f"{row[0] if row else 'unknown'}.json"


def load(file: Path) -> Marks | None:
    """The marks in a file; None before the first were kept. Raises OperatorError when they cannot be read."""
    if not file.exists():
        return None
    try:
        return Marks.parse(file.read_text())
    except (ValueError, TypeError, KeyError) as error:
        hint = "`mana ledger verify --accept` writes it again"
        raise OperatorError(f"{file} does not contain the marks of a ledger", hint=hint) from error


def keep(file: Path, marks: Marks) -> None:
    """Replace the marks in a file."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_files.replace(file, f"{marks}\n")


def now() -> datetime:
    """The time of a full check, as it is kept."""
    return datetime.now(UTC).replace(microsecond=0)
