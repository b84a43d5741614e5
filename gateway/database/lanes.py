"""Which call goes next, over which connection, and in whose company.

A connection carries one statement at a time. Calls that arrive while all are busy wait, and those of one
function then go together if it serves many users: one round trip and one commit for all of them. It does not
wait for locks: it leaves out a call that would have to, which then goes again, each time a little later, and
at last waits alone. If the statement fails, all of them go again alone, because none was carried out. So each
call ends as if it had been alone.

No kind of call takes all connections, however long a lock is held. A few may wait for locks. Functions that
serve one user have a few each, and a user's calls to one of them go one after the other. What is left is for
calls that wait for nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from gateway.database.calls import Call, Reply, Statement
from gateway.database.refusals import Failure, failed
from gateway.problems import unavailable

QUEUED_FOR = 0.8  # seconds that a call may wait to be sent: the client gets a refusal within one
BATCH = 32  # calls that may share a transaction
STALLED_AFTER = 0.05  # seconds after which a statement waits for something and does not count as busy
AGAIN_AFTER = (0.005, 0.02, 0.06)  # seconds until a call that was left out goes again; then it waits
SHARE = 4  # a user, a function that serves one, and those who wait for locks have a fourth of what there is


_WAITS = "waits for locks"
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
    most ``queue`` calls wait, each for at most ``patience`` seconds. ``shared`` lanes are as the top says; the
    connections of others are all for calls of one kind.
    """

    def __init__(
        self,
        name: str,
        busy: int,
        queue: int,
        *,
        patience: float = QUEUED_FOR,
        shared: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._busy = busy
        self._queue = queue
        self._patience = patience
        self._shared = shared
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
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        # Calls of one user to a function would wait for each other's locks.
        of_user = (statement, arguments[0]) if statement.names_user else None
        call = Call(statement, arguments, future, self._clock() + self._patience, of_user)
        if statement.looks:
            self._waiting.appendleft(call)
        elif self._is_full(of_user):
            raise unavailable()
        else:
            self._waiting.append(call)
        self._wake_in(0)  # after the calls that arrive in the same turn of the loop
        return await future

    def _is_full(self, of_user: tuple[Statement, bytes | None] | None) -> bool:
        """Whether the queue is, or the part of it that one user may fill."""
        share = max(1, self._queue // SHARE)
        waiting = len(self._waiting)
        if waiting < share or of_user is None:
            return waiting >= self._queue
        return waiting >= self._queue or sum(call.of_user == of_user for call in self._waiting) >= share

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
        """Deliver what a statement returned: for each call its reply, or None if it was left out."""
        load = self._loads[connection]
        calls, load.calls = load.calls, []
        if isinstance(outcome, Failure):
            for call in reversed(calls):
                if len(calls) == 1:
                    self._fail(call, outcome)
                else:
                    call.alone = True
                    self._call_again(call)
            return
        for call, reply in zip(reversed(calls), reversed(outcome), strict=True):
            if reply is None:
                self._leave_out(call)
            elif not call.future.done():
                call.future.set_result(reply)

    def _leave_out(self, call: Call) -> None:
        """Let a call that would have had to wait for a lock go again later; wait, if it was left out too often."""
        if call.waits or not call.statement.serves_many:
            self._fail(call, _NO_REPLY)
        elif call.left_out < len(AGAIN_AFTER):
            call.not_before = self._clock() + AGAIN_AFTER[call.left_out]
            call.left_out += 1
            self._waiting.appendleft(call)
        elif sum(waiting.waits for waiting in self._waiting) < self._queue // SHARE:
            call.waits = True
            self._call_again(call)
        elif not call.future.done():
            call.future.set_exception(unavailable())

    def _fail(self, call: Call, failure: Failure) -> None:
        if not call.future.done():
            call.future.set_exception(failed(call.statement.name, failure))

    def send_waiting(self) -> None:
        """Send what can be sent now."""
        while (connection := self._choose()) and (calls := self._take()):
            load = self._loads[connection]
            load.calls, load.sent_at = calls, self._clock()
            connection.send(calls)
        if self._waiting:
            self._give_up()
            # A statement may stall, and another connection take its place; and a call may go again.
            now = self._clock()
            later = (call.not_before - now for call in self._waiting if call.not_before > now)
            self._wake_in(min(later, default=STALLED_AFTER))

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
            elif load.sent_at > since and not load.calls[0].waits:
                busy += 1
        return idle if busy < self._busy else None

    def _take(self) -> list[Call]:
        """The call that waits longest, and those that may go with it.

        While calls of a function are at work together, others of it gather: fewer and larger statements
        cost less. Calls of a user whose call to the same function is on its way stay: they would wait for
        its lock, and take every connection.
        """
        now = self._clock()
        loads = [load for load in self._loads.values() if load.calls]
        at_work = {
            load.calls[0].statement for load in loads if len(load.calls) > 1 and load.sent_at > now - STALLED_AFTER
        }
        on_their_way = {call.of_user for load in loads for call in load.calls}
        exhausted = self._exhausted(loads) if self._shared else set()
        ready = [
            call
            for call in self._waiting
            if (call.statement not in at_work or call.alone or call.waits)
            and call.not_before <= now
            and (not call.of_user or call.of_user not in on_their_way)
            and (not exhausted or _kind(call) not in exhausted)
        ]
        if not ready:
            return []
        first = ready[0]
        calls = [first]
        if first.statement.serves_many and not first.alone and not first.waits:
            together = (
                call for call in ready if call.statement is first.statement and not call.alone and not call.waits
            )
            calls = list(islice(together, BATCH))
        if len(calls) == len(self._waiting):
            self._waiting.clear()
        else:
            for call in calls:
                self._waiting.remove(call)
        return calls

    def _exhausted(self, loads: Sequence[_Load]) -> set[str]:
        """The kinds of call that have all the connections that they may have."""
        kinds = [kind for load in loads if (kind := _kind(load.calls[0]))]
        if not kinds:
            return set()
        at_work = Counter(kinds)
        share = max(1, len(self._loads) // SHARE)
        exhausted = {kind for kind, number in at_work.items() if number >= share}
        if len(kinds) >= max(1, len(self._loads) - self._busy):
            exhausted |= {_WAITS, *(_kind(call) for call in self._waiting)}
        return exhausted - {""}

    def _call_again(self, call: Call) -> None:
        call.expires_at = self._clock() + self._patience
        self._waiting.appendleft(call)


def _kind(call: Call) -> str:
    """The kind of a call that may take long, empty for one that waits for nobody."""
    if call.waits:
        return _WAITS
    return "" if call.statement.serves_many or call.statement.looks else call.statement.name
