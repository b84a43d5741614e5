"""Which call goes next, over which connection, and in whose company.

A connection carries one statement at a time. Calls that arrive while all are busy wait, and those of one
function then go together if it serves many users: one round trip and one commit for all of them. In company
it does not wait for locks: it leaves out a call that would have to, which then goes again alone. If the
statement fails, all of them go again alone, because none was carried out. So each call ends as if it had
been alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.database.calls import Call, Reply, Statement
from gateway.database.refusals import Failure, failed
from gateway.problems import unavailable

QUEUED_FOR = 0.8  # seconds that a call may wait to be sent: the client gets a refusal within one
BATCH = 32  # calls that may share a transaction
STALLED_AFTER = 0.05  # seconds after which a statement waits for something and does not count as busy


_NO_REPLY = Failure("XX000")  # a function that is called for one user serves it


class Connection(Protocol):
    """Carries one statement at a time. It joins a lane, tells it the outcome of each statement, and leaves it."""

    def send(self, calls: Sequence[Call]) -> None:
        """Send calls of one function. The outcome goes to ``Lane.answered``, or ``Lane.leave`` is called."""


@dataclass(slots=True, eq=False)
class _Load:
    """What is on its way over a connection."""

    calls: list[Call] = field(default_factory=list)
    sent_at: float = 0.0


class Lane:
    """A queue of calls and the connections that serve it.

    At most ``busy`` connections work at a time: the server's cores can serve that many, and calls that wait
    anyhow had better share a transaction. Further connections are for when a statement waits for a lock. At
    most ``queue`` calls wait, each for at most ``patience`` seconds.
    """

    def __init__(
        self,
        name: str,
        busy: int,
        queue: int,
        *,
        patience: float = QUEUED_FOR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._busy = busy
        self._queue = queue
        self._patience = patience
        self._clock = clock
        self._waiting: deque[Call] = deque()
        self._loads: dict[Connection, _Load] = {}
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._next_look = 0.0

    @property
    def waiting(self) -> int:
        """Calls that wait to be sent."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Calls that were sent and have no reply yet."""
        return sum(len(load.calls) for load in self._loads.values())

    @property
    def connections(self) -> int:
        """Connections that are up."""
        return len(self._loads)

    async def call(self, statement: Statement, arguments: Sequence[bytes | None]) -> Reply:
        """Call the function with its parameters in order. Raises Problem.

        A Problem ``service_unavailable`` leaves open whether the call was carried out: the connection may
        have broken between the commit and the reply.
        """
        if len(self._waiting) >= self._queue:
            raise unavailable()
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        # Calls of one user to a function would wait for each other's locks.
        of_user = (statement, arguments[0]) if statement.serves_many else None
        self._waiting.append(Call(statement, arguments, future, self._clock() + self._patience, of_user))
        self._wake_in(0)  # after the calls that arrive in the same turn of the loop
        return await future

    def join(self, connection: Connection) -> None:
        """Use a connection that is up."""
        self._loads[connection] = _Load()
        self.send_waiting()

    def leave(self, connection: Connection) -> None:
        """Give a connection up. The calls on their way over it fail: no reply will come."""
        for call in self._loads.pop(connection).calls:
            if not call.future.done():
                call.future.set_exception(unavailable())

    def answered(self, connection: Connection, outcome: Sequence[Reply | None] | Failure) -> None:
        """Deliver what a statement returned: for each call its reply, or None if it has to go alone."""
        load = self._loads[connection]
        calls, load.calls = load.calls, []
        replies = [None] * len(calls) if isinstance(outcome, Failure) else outcome
        if len(calls) == 1 and replies[0] is None:
            failure = outcome if isinstance(outcome, Failure) else _NO_REPLY
            if not calls[0].future.done():
                calls[0].future.set_exception(failed(calls[0].statement.name, failure))
            return
        for call, reply in zip(reversed(calls), reversed(replies), strict=True):
            if reply is None:
                self._call_alone(call)
            elif not call.future.done():
                call.future.set_result(reply)

    def send_waiting(self) -> None:
        """Send what can be sent now."""
        while (connection := self._choose()) and (calls := self._take()):
            load = self._loads[connection]
            load.calls, load.sent_at = calls, self._clock()
            connection.send(calls)
        if self._waiting:
            self._give_up()
            # A statement may stall, and another connection take its place.
            self._wake_in(STALLED_AFTER)

    def _wake_in(self, delay: float) -> None:
        at = self._clock() + delay
        if self._wake and self._wake_at <= at:
            return
        if self._wake:
            self._wake.cancel()
        self._wake_at = at
        self._wake = asyncio.get_running_loop().call_later(delay, self._wake_up)

    def _wake_up(self) -> None:
        self._wake = None
        self.send_waiting()

    def _give_up(self) -> None:
        """Refuse the calls that have waited too long; looks at most every STALLED_AFTER."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + STALLED_AFTER
        for call in [call for call in self._waiting if call.expires_at <= now]:
            self._waiting.remove(call)
            if not call.future.done():
                call.future.set_exception(unavailable())

    def _choose(self) -> Connection | None:
        """An idle connection, unless as many as should be are at work."""
        since = self._clock() - STALLED_AFTER
        idle = None
        busy = 0
        for connection, load in self._loads.items():
            if not load.calls:
                idle = connection
            elif load.sent_at > since:
                busy += 1
        return idle if busy < self._busy else None

    def _take(self) -> list[Call]:
        """The call that waits longest, and those that may go with it.

        While calls of a function are at work together, others of it gather: fewer and larger statements
        cost less. Calls of a user whose call to the same function is on its way stay: they would wait for
        its lock, and take every connection.
        """
        since = self._clock() - STALLED_AFTER
        loads = self._loads.values()
        at_work = {load.calls[0].statement for load in loads if len(load.calls) > 1 and load.sent_at > since}
        on_their_way = {call.of_user for load in loads for call in load.calls}
        ready = [
            call
            for call in self._waiting
            if not call.of_user or (call.of_user not in on_their_way and (call.alone or call.statement not in at_work))
        ]
        if not ready:
            return []
        first = ready[0]
        calls = [first]
        if first.statement.serves_many and not first.alone:
            calls = [call for call in ready if call.statement is first.statement and not call.alone][:BATCH]
        if len(calls) == len(self._waiting):
            self._waiting.clear()
        else:
            for call in calls:
                self._waiting.remove(call)
        return calls

    def _call_alone(self, call: Call) -> None:
        call.alone = True
        call.expires_at = self._clock() + self._patience
        self._waiting.appendleft(call)
