"""The lanes of one worker, with their connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway.database.calls import Reply, Statement
from gateway.database.connections import connected
from gateway.database.lanes import Lane

BUSY = 2  # statements of quick calls that a worker has at work at a time
# Shorter than that of quick calls: while all cores hash, a refusal takes long to reach the client. It is
# not sent at once either: a flood that is answered in no time comes back in no time.
PASSWORD_QUEUED_FOR = 0.6  # seconds


class Database:
    """Quick calls, and calls that hash a password: a flood of logins waits for itself and for nothing else."""

    def __init__(self, url: str, connections: int, password_connections: int) -> None:
        self._url = url
        self._sizes = (connections, password_connections)
        self.quick = Lane("quick", BUSY, queue=1000)
        self.password = Lane("password", password_connections, queue=100, patience=PASSWORD_QUEUED_FOR, shared=False)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All lanes."""
        return self.quick, self.password

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep all connections up while the context lasts."""
        quick, password = self._sizes
        async with connected(self.quick, self._url, quick), connected(self.password, self._url, password):
            yield

    async def call(self, statement: Statement, arguments: Sequence[bytes | None]) -> Reply:
        """Call the function with its parameters in order. Raises Problem."""
        lane = self.password if statement.hashes_password else self.quick
        return await lane.call(statement, arguments)
