"""Two transactions stepped through each other, as PostgreSQL's isolation tester does, and into functions.

Each call, each end of a transaction, and in between each statement of a PL/pgSQL function that looks at the
database is a *point*. A schedule says who runs, and up to which point, in turns. Who is to stop at a point
waits there for an advisory lock that the stepper holds; who waits for any other lock is blocked by the other
transaction, and goes on by itself when that ends. The database must be one for this: see prepare().
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from gateway.operate.migrate import SCHEMAS

CALL = 1000  # points of the first call are numbered from here, of the second from 2000, ..

_POINTS = """
grant usage on schema test to public;
create sequence test.point_1 minvalue 0;
create sequence test.point_2 minvalue 0;
grant all on all sequences in schema test to public;
grant execute on function pg_advisory_lock_shared(int, int), pg_advisory_unlock_shared(int, int) to public;

-- Arrives at a point, and waits when it is one to stop at. Returns true, for ASSERT: that changes
-- neither FOUND nor ROW_COUNT. A sequence counts, because a rollback must not turn it back.
create function test.arrive(p_point bigint default null) returns boolean language plpgsql as $$
declare
    v_session constant text := current_setting('test.session', true);
    v_point   bigint;
begin
    if coalesce(v_session, '') <> '' then
        v_point := coalesce(setval('test.point_' || v_session, p_point), nextval('test.point_' || v_session));
        if v_point = any (current_setting('test.stops')::bigint[]) then
            perform pg_advisory_lock_shared(v_session::int, v_point::int);
            perform pg_advisory_unlock_shared(v_session::int, v_point::int);
        end if;
    end if;
    return true;
end
$$;
"""

# A statement begins where the function does, after a semicolon, and in each branch; it matters when it
# looks at the database, or calls what may.
_BEFORE_A_STATEMENT = re.compile(r"^(?! *--)(begin|.*;|.*\b(then|else))( *--.*)?$")
_MATTERS = re.compile(r"\b(select|insert|update|delete|perform|exists)\b|\b(base|_?auth|_?credits|api)\.\w+\(")


def prepare(connection: psycopg.Connection[Any]) -> int:
    """Give every PL/pgSQL function of ours its points; returns how many functions that are."""
    connection.execute(_POINTS)
    functions = connection.execute(
        """select pg_get_functiondef(p.oid)
             from pg_proc as p join pg_language as l on l.oid = p.prolang
            where l.lanname = 'plpgsql' and p.pronamespace::regnamespace::text = any(%s)""",
        (list(SCHEMAS),),
    ).fetchall()
    for (definition,) in functions:
        connection.execute(with_points(definition).encode())
    return len(functions)


def with_points(definition: str) -> str:
    """The definition of a function, laid out as ours are, that arrives at a point before each statement."""
    lines = definition.splitlines()
    body = lines.index("begin")
    statement: list[str] = []
    for number in range(len(lines) - 1 - lines[::-1].index("end"), body - 1, -1):
        if _BEFORE_A_STATEMENT.match(lines[number]):
            if _MATTERS.search(" ".join(statement)):
                lines.insert(number + 1, "assert test.arrive();")
            statement = []
        if not lines[number].lstrip().startswith("--"):
            statement.insert(0, lines[number])
    return "\n".join(lines)


@dataclass(frozen=True)
class Action:
    """A transaction: its calls, with parameters of the scenario, as one of our roles."""

    name: str
    role: str
    calls: tuple[str, ...]
    end: str = "commit"

    def __str__(self) -> str:
        return self.name


@dataclass
class Session:
    """One of the two, and what became of its transaction."""

    number: int
    connection: psycopg.AsyncConnection[Any]
    answers: list[str] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.task is not None and self.task.done()

    async def run(self, action: Action, parameters: Mapping[str, object], stops: Sequence[int], counted: bool) -> None:
        """Run the whole transaction. Its answers are rows, or an SQLSTATE and a message; its points are ``counted``."""
        # Several statements go in one query wherever nothing is to be seen in between: each has its own snapshot.
        before = f"set test.stops = '{{{','.join(map(str, stops))}}}'; begin; set local role {action.role}; "
        try:
            for number, call in enumerate(action.calls, 1):
                try:
                    query = f"{before}select test.arrive({CALL * number}); {call}"
                    cursor = await self.connection.execute(query.encode(), parameters)
                    while cursor.nextset():
                        pass
                    self.answers.append(str(await cursor.fetchall()))
                finally:
                    if counted:
                        self.points += await self._points_of(number)
                before = ""
            await self.connection.execute(
                f"select test.arrive({CALL * (len(action.calls) + 1)}); {action.end}".encode()
            )
        except psycopg.Error as error:
            self.answers.append(f"{error.sqlstate} {error.diag.message_primary}")
        finally:
            await self.connection.rollback()

    async def _points_of(self, call: int) -> range:
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            await self.connection.rollback()
        cursor = await self.connection.execute(f"select last_value from test.point_{self.number}".encode())
        [(last,)] = await cursor.fetchall()
        return range(CALL * call, last + 1)


# Who runs up to which point; None is the end.
Schedule = Sequence[tuple[int, int | None]]


@dataclass(frozen=True)
class Outcome:
    """What two transactions answered, what they left, and which had ended before the other began."""

    answers: tuple[tuple[str, ...], tuple[str, ...]]
    state: str
    first: int | None
    points: tuple[tuple[int, ...], tuple[int, ...]]


def serial(first: int) -> Schedule:
    return [(first, None), (1 - first, None)]


def by_statement(pair: tuple[Action, Action]) -> Iterator[Schedule]:
    """Every order of the two transactions' calls and ends, but for the serial ones."""
    steps = [len(action.calls) + 1 for action in pair]
    for places in itertools.combinations(range(sum(steps)), steps[0]):
        turns = [0 if place in places else 1 for place in range(sum(steps))]
        done = [0, 0]
        schedule: list[tuple[int, int | None]] = []
        for who, turn in itertools.groupby(turns):
            done[who] += len(list(turn))
            schedule.append((who, None if done[who] == steps[who] else CALL * (done[who] + 1)))
        if len(schedule) > 2:
            yield schedule


def into_functions(points: tuple[Sequence[int], Sequence[int]], switches: int) -> Iterator[Schedule]:
    """Every schedule that leaves one transaction at a point of a function, and, with two switches, comes back
    when the other is at one."""
    for first in (0, 1):
        for point in points[first]:
            if switches == 1:
                yield [(first, point), (1 - first, None), (first, None)]
            else:
                for other in points[1 - first]:
                    yield [(first, point), (1 - first, other), (first, None), (1 - first, None)]


class Stepper:
    """Runs schedules of two sessions, one schedule at a time."""

    def __init__(self, control: psycopg.AsyncConnection[Any], sessions: tuple[Session, Session]) -> None:
        self._control = control
        self._sessions = sessions

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator[Stepper]:
        async with contextlib.AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(
                    await psycopg.AsyncConnection.connect(url, autocommit=True, cursor_factory=factory)
                )
                for factory in (psycopg.AsyncCursor, psycopg.AsyncClientCursor, psycopg.AsyncClientCursor)
            ]
            for number in (1, 2):
                await connections[number].execute("select set_config('test.session', %s, false)", (str(number),))
                await connections[number].execute("set deadlock_timeout = '100ms'")
            yield cls(connections[0], (Session(1, connections[1]), Session(2, connections[2])))

    async def run(self, pair: tuple[Action, Action], schedule: Schedule, scenario: str, state: str) -> Outcome:
        """``scenario`` is a query of one row, the parameters; ``state`` one of one value, what was left."""
        async with self._control.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            parameters: dict[str, Any] = await (await cursor.execute(scenario.encode())).fetchone() or {}
        stops = [[point for who, point in schedule if who == number and point] for number in (0, 1)]
        for session, points in zip(self._sessions, stops, strict=True):
            session.answers, session.points, session.task = [], [], None
            for point in points:
                await self._control.execute("select pg_advisory_lock(%s, %s)", (session.number, point))

        first = None
        waits_at = [0, 0]
        for who, _ in schedule:
            session, other = self._sessions[who], self._sessions[1 - who]
            if session.task is None:
                if other.ended:
                    first = 1 - who
                session.task = asyncio.create_task(session.run(pair[who], parameters, stops[who], len(schedule) == 2))
            elif waits_at[who]:
                await self._control.execute("select pg_advisory_unlock(%s, %s)", (session.number, waits_at[who]))
            waits_at = await self._settled()
        await self._control.execute("select pg_advisory_unlock_all()")
        await asyncio.gather(*(session.task for session in self._sessions if session.task))

        [(left,)] = await (await self._control.execute(state.encode(), parameters)).fetchall()
        answers = _without_names([session.answers for session in self._sessions])
        one, two = self._sessions
        return Outcome((answers[0], answers[1]), left, first, (tuple(one.points), tuple(two.points)))

    async def _settled(self) -> list[int]:
        """Wait until each session has ended or waits for a lock; returns the points that they have stopped at."""
        timeout = 0.003  # in which most have ended
        while under_way := [session.task for session in self._sessions if session.task and not session.ended]:
            await asyncio.wait(under_way, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            timeout = 0.001
            cursor = await self._control.execute(
                """select pid, case when locktype = 'advisory' then objid::int else 0 end
                     from pg_locks where not granted and pid = any(%s)""",
                ([session.connection.info.backend_pid for session in self._sessions],),
            )
            waiting = dict(await cursor.fetchall())
            running = [
                session.task
                for session in self._sessions
                if session.task and not session.ended and session.connection.info.backend_pid not in waiting
            ]
            if not running:
                return [waiting.get(session.connection.info.backend_pid, 0) for session in self._sessions]
        return [0, 0]


_NAMES = re.compile(r"[0-9a-f]{32}\.[\w-]{43}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-]\d\d(?::\d\d)?)?")


def _without_names(answers: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Tokens and ids as numbers, in the order in which they appear: two runs then compare. Times go."""
    names: dict[str, str] = {}
    return [
        tuple(
            _NAMES.sub(lambda found: names.setdefault(found[0], f"#{len(names)}"), _TIMES.sub("<time>", text))
            for text in texts
        )
        for texts in answers
    ]
