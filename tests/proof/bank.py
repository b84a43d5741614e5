"""The bank: many clients, half over HTTP and half as backends in SQL, on few hot and many cold users.

They register, spend, give spends back, get gifts and daily grants, refresh and log out while the injected
clock runs ahead by hours at a time. Keys are repeated, some with another payload, across both ways in. Whatever
has no answer and can be repeated is repeated until it has one. Everything goes into a history. While
the load runs, the books are checked every few seconds; in the end the history is judged by the model.

    async with History(path, seed=1) as history:
        report = await Bank(targets, history, seed=1, operations=10_000).run()

``Targets`` says where the parts are, so that something may stand in between; ``faults`` is whatever
breaks them meanwhile: a coroutine function that gets the bank, and ends or is cancelled with the load.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from harness.clients import Service
from proof import judge
from proof.doors import Answer, Http, Request, Sql, fingerprint
from proof.history import OK, UNKNOWN, History

HOT = 8  # users that half of the operations are about
MARGIN = 0.001  # seconds by which two readings of one clock may differ
CHECKED_EVERY = 5.0  # seconds
CLOCK_MOVED_EVERY = 1.0  # seconds
GIVEN_UP_AFTER = 60.0  # seconds of outage after which a load is not worth going on with


class Violation(AssertionError):
    """The service broke a promise."""


@dataclass(frozen=True)
class Targets:
    """Where the parts are: the gateway's URL, and the database as a backend and as its administrator.

    The backend is one of ``support.backend_login``. The administrator checks, gives and moves the
    clock, past any proxy.
    """

    http: str
    backend: str
    admin: str


@dataclass(slots=True, eq=False)
class Login:
    """A session that one client at a time has."""

    number: int  # of the operation that opened it
    access: str
    refresh: str
    older: list[str] = field(default_factory=list)  # its refresh tokens before that


@dataclass(slots=True, eq=False)
class Person:
    """A user, and what clients know of them."""

    number: int
    email: str
    id: str = ""
    version: int = 0
    idle: list[Login] = field(default_factory=list)
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=30))


@dataclass
class Report:
    """What was done."""

    operations: int
    seconds: float
    outcomes: Counter[str]
    checks: int
    movements: int

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{self.operations} operations in {self.seconds:.0f} s ({self.operations / self.seconds:.0f}/s): "
            f"{outcomes}; {self.movements} movements, checked {self.checks} times"
        )


Faults = Callable[["Bank"], Awaitable[None]]


class Bank:
    """One load on one database. Without ``operations`` it goes on until the faults have ended."""

    def __init__(
        self,
        targets: Targets,
        history: History,
        *,
        seed: int,
        operations: int | None = None,
        faults: Faults | None = None,
        clients: int = 32,
        hot: int = HOT,
        cold: int = 1000,
        checked_every: float = CHECKED_EVERY,
    ) -> None:
        self.targets = targets
        self.history = history
        self.seed = seed
        self.outcomes: Counter[str] = Counter()
        self.checks = 0
        self._operations = operations
        self._faults = faults
        self._clients = clients
        self._hot = hot
        self._checked_every = checked_every
        self._people = [Person(number, f"user-{number}@example.com") for number in range(hot + cold)]
        self._known: list[Person] = []
        self.sessions = itertools.count(1)
        self._numbers = itertools.count(1)
        self._refused: list[Request] = []
        self._acknowledged: list[str] = []
        self._shift = (0.0, 0.0)  # the injected clock is at least and at most this much ahead
        self._stopping = False
        self._over = asyncio.Event()
        # By way in, when the last operation began that got an answer.
        self.served = {"http": time.monotonic(), "sql": time.monotonic()}
        self._clerk = _Clerk(targets.admin)
        self._admin = _Clerk(targets.admin)

    async def run(self) -> Report:
        """Raises Violation."""
        started = time.monotonic()
        # Beside a spend a backend has an order; a repeated spend is the same order.
        await self._clerk.insist("create unique index if not exists orders_once on shop.orders (transaction_id)")
        chance = random.Random(f"{self.seed} clock")
        async with Service(self.targets.http) as service:
            http = Http(service)
            sql = [Sql(self.targets.backend) for _ in range(self._clients // 2)]
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._move_clock(chance))
                    group.create_task(self._check_often())
                    breaking = group.create_task(self._break_things())
                    clients = [
                        group.create_task(self._client(number, http, sql[number // 2] if number % 2 else None))
                        for number in range(self._clients)
                    ]
                    await asyncio.wait(clients)
                    self._over.set()
                    breaking.cancel()
                seconds = time.monotonic() - started
                await self.check()
                movements = await self._write_ledger()
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from errors
            finally:
                for backend in sql:
                    await backend.close()
                await self._clerk.close()
                await self._admin.close()
        self.history.flush()
        if problems := judge.judge(self.history.path):
            raise Violation("\n".join(problems[:20]))
        return Report(self.history.operations, seconds, self.outcomes, self.checks, movements)

    def now(self) -> tuple[float, float]:
        """What the injected clock shows at the earliest and at the latest."""
        real = time.time()
        return real + self._shift[0] - MARGIN, real + self._shift[1] + MARGIN

    async def _break_things(self) -> None:
        if self._faults:
            await self._faults(self)
        if self._operations is None:
            self._stopping = True

    async def _over_within(self, seconds: float) -> bool:
        """Whether the clients have come to an end; waits for it so long."""
        try:
            async with asyncio.timeout(seconds):
                return await self._over.wait()
        except TimeoutError:
            return False

    # ------------------------------------------------------------ clients

    def _goes_on(self) -> bool:
        if time.monotonic() - max(self.served.values()) > GIVEN_UP_AFTER:
            raise Violation(f"nothing was answered for {GIVEN_UP_AFTER:.0f} s")
        if self._operations is not None and self.history.operations >= self._operations:
            self._stopping = True
        return not self._stopping

    async def _client(self, number: int, http: Http, sql: Sql | None) -> None:
        chance = random.Random(f"{self.seed} {number}")
        client = _SqlClient(self, number, chance, sql) if sql else _HttpClient(self, number, chance, http)
        while self._goes_on():
            await client.act(self._pick(chance))

    def _pick(self, chance: random.Random) -> Person:
        if chance.random() < 0.5:
            return self._people[chance.randrange(self._hot)]
        return chance.choice(self._people)

    async def attempt(
        self, client: int, op: str, person: Person, call: Callable[[], Awaitable[Answer]], **details: Any
    ) -> Answer:
        """Do one thing once, and note it."""
        began = time.monotonic()
        number = self.history.invoked(op=op, client=client, user=person.number, at=self.now()[0], **details)
        answer = await call()
        self.history.done(
            number, answer.outcome, at=self.now()[1], status=answer.status, code=answer.code, **answer.shown
        )
        self.outcomes[answer.outcome] += 1
        if answer.outcome != UNKNOWN and answer.code != "not_now":
            self.served["sql" if client % 2 else "http"] = began
        return answer

    async def insist(
        self, client: int, op: str, person: Person, call: Callable[[], Awaitable[Answer]], **details: Any
    ) -> Answer:
        """The same again until there is an answer."""
        delay = 0.02
        while (answer := await self.attempt(client, op, person, call, **details)).outcome == UNKNOWN:
            self._goes_on()  # or raises
            await asyncio.sleep(delay)
            delay = min(2 * delay, 0.5)
        return answer

    async def spend(
        self, client: int, person: Person, request: Request, call: Callable[[], Awaitable[Answer]], **details: Any
    ) -> Answer:
        """Spend, again with the same key when there is no answer; without a key only once."""
        again = self.insist if request.key is not None else self.attempt

        async def noted() -> Answer:
            answer = await call()
            request.doubtful |= answer.outcome == UNKNOWN
            return answer

        request.pending += 1
        answer = await again(
            client, "use", person, noted, request=request.number, label=request.label,
            amount=request.amount, key=request.key, expected=request.expected_version, **details,
        )  # fmt: skip
        request.pending -= 1
        if answer.ok:
            request.paid = True
            self._acknowledged.append(answer.shown["id"])
            person.version = max(person.version, answer.shown["version"])
        elif request.refused:
            self._refused.append(request)
        return answer

    def know(self, person: Person, user_id: str) -> None:
        """From now on, backends may act for this user."""
        if not person.id:
            person.id = user_id
            self._known.append(person)

    def some_known(self, chance: random.Random) -> Person | None:
        return chance.choice(self._known) if self._known else None

    def request(self, person: Person, chance: random.Random) -> Request:
        """A new request; 30 % of them are repeated ones, 5 % have the key of another one."""
        kind = chance.random()
        earlier = [request for request in person.requests if request.key is not None]
        if earlier and kind < 0.30:
            return chance.choice(earlier)
        if earlier and kind < 0.35:
            first = chance.choice(earlier)
            first.other = first.other or Request(next(self._numbers), first.label, first.amount + 1, first.key, None)
            return first.other
        number = next(self._numbers)
        amount = 10**6 if chance.random() < 0.03 else chance.randint(1, 12)
        key = f"key-{number}" if kind < 0.85 else None
        expected = person.version if chance.random() < 0.05 else None
        request = Request(number, number, amount, key, expected)
        person.requests.append(request)
        return request

    async def give(self, client: int, person: Person, chance: random.Random) -> None:
        """A gift of an administrator, which cannot be repeated safely: it has no key."""
        free, paid = chance.choice([(chance.randint(1, 40), 0), (0, chance.randint(1, 80)), (5, 20)])
        text = f"gift {self.history.operations + 1}"
        await self.attempt(
            client,
            "give",
            person,
            lambda: self._admin.give(person.id, free, paid, text),
            free=free,
            paid=paid,
            text=text,
        )

    # ------------------------------------------------------------ beside the clients

    async def _move_clock(self, chance: random.Random) -> None:
        """Let hours pass, again and again.

        No money is on its way meanwhile, as the ledger shows the time of a movement but not that of
        the decision before it.
        """
        while not await self._over_within(CLOCK_MOVED_EVERY):
            shift = self._shift[1] + 3600 * chance.randint(1, 30)
            self._shift = (self._shift[0], shift)
            await self._clerk.insist(
                "begin; lock table credits.balances in exclusive mode; "
                f"update test.clock set shift = interval '{shift:.0f} seconds'; commit"
            )
            self._shift = (shift, shift)

    async def _check_often(self) -> None:
        while not await self._over_within(self._checked_every):
            await self.check()

    async def check(self) -> None:
        """Look through the books once. Raises Violation."""
        acknowledged, self._acknowledged = self._acknowledged, []
        refused, self._refused = self._refused, []
        problems = await self._clerk.insist(_DISCREPANCIES)
        problems += await self._clerk.insist(_LOST, acknowledged)
        made = await self._clerk.insist(_MADE, [str(request.label) for request in refused])
        # Somebody may have asked again since.
        still = {(str(request.label), request.amount) for request in refused if request.refused}
        problems += [("refused, and there", label) for label, amount in made if (label, amount) in still]
        self.checks += 1
        if problems:
            raise Violation("\n".join(map(str, problems[:20])))

    async def _write_ledger(self) -> int:
        """Write what is in the database behind the operations."""
        rows = 0
        for name, statement in _LEDGER.items():
            for (line,) in await self._clerk.insist(statement):
                rows += name == "movement"
                self.history.write({name: line})
        return rows


class _Client(ABC):
    def __init__(self, bank: Bank, number: int, chance: random.Random) -> None:
        self._bank = bank
        self._number = number
        self._chance = chance

    @abstractmethod
    async def act(self, person: Person) -> None:
        """Do one thing that this person might, and write it into the history."""


class _HttpClient(_Client):
    """An app."""

    def __init__(self, bank: Bank, number: int, chance: random.Random, http: Http) -> None:
        super().__init__(bank, number, chance)
        self._http = http

    async def act(self, person: Person) -> None:
        if not person.id or self._chance.random() < 0.005:
            await self._insist("register", person, lambda: self._http.register(person.email))
        session = person.idle.pop() if person.idle else await self._log_in(person)
        if not session:
            return
        kinds = [self._use, self._balance, self._refresh, self._reuse, self._log_out]
        act = self._chance.choices(kinds, weights=[70, 14, 12, 1, 3])[0]
        if await act(person, session):
            person.idle.append(session)

    async def _insist(self, op: str, person: Person, call: Callable[[], Awaitable[Answer]], **details: Any) -> Answer:
        return await self._bank.insist(self._number, op, person, call, **details)

    async def _log_in(self, person: Person) -> Login | None:
        number = next(self._bank.sessions)
        answer = await self._insist("login", person, lambda: self._http.login(person.email), session=number)
        if not answer.ok:
            return None
        self._bank.know(person, answer.body["user"]["id"])
        return Login(number, answer.body["accessToken"], answer.body["refreshToken"])

    async def _use(self, person: Person, session: Login) -> bool:
        request = self._bank.request(person, self._chance)
        answer = await self._bank.spend(
            self._number, person, request, lambda: self._http.use(session.access, request), session=session.number
        )
        return answer.status != 401

    async def _balance(self, person: Person, session: Login) -> bool:
        answer = await self._insist(
            "balance", person, lambda: self._http.balance(session.access), session=session.number
        )
        return answer.status != 401

    async def _refresh(self, person: Person, session: Login) -> bool:
        """Refresh, at times twice with one token: a lost answer, two tabs."""
        presented = session.refresh
        for _ in range(2 if self._chance.random() < 0.2 else 1):
            answer = await self._present(person, session, presented)
            if not answer.ok:
                return False
            session.access, session.refresh = answer.body["accessToken"], answer.body["refreshToken"]
        session.older.append(presented)
        return True

    async def _reuse(self, person: Person, session: Login) -> bool:
        """A token from longer ago, as a thief would have it: whatever comes of it, the session shows it."""
        if session.older:
            await self._present(person, session, session.older[0])
        return await self._use(person, session)

    async def _present(self, person: Person, session: Login, token: str) -> Answer:
        return await self._insist(
            "refresh", person, lambda: self._http.refresh(token), session=session.number, token=fingerprint(token)
        )

    async def _log_out(self, person: Person, session: Login) -> bool:
        if self._chance.random() < 0.5:
            await self._insist("logout", person, lambda: self._http.log_out(session.access), session=session.number)
        else:
            token = session.refresh
            await self._insist(
                "logout", person, lambda: self._http.log_out_by_token(token),
                session=session.number, token=fingerprint(token),
            )  # fmt: skip
        return await self._use(person, session)


class _SqlClient(_Client):
    """A trusted backend, which also stands in for the administrator who gives."""

    def __init__(self, bank: Bank, number: int, chance: random.Random, sql: Sql) -> None:
        super().__init__(bank, number, chance)
        self._sql = sql

    async def act(self, person: Person) -> None:
        if not person.id:
            if not (known := self._bank.some_known(self._chance)):
                await asyncio.sleep(0.01)  # nobody has registered yet
                return
            person = known
        kind = self._chance.random()
        if kind < 0.08:
            await self._bank.give(self._number, person, self._chance)
        elif kind < 0.16 and (spends := [request.key for request in person.requests if request.key is not None]):
            spend, key = self._chance.choice(spends), f"back-{self._chance.randint(1, 3)}"
            amount = self._chance.choice([None, 1, 2, 5])
            await self._bank.insist(
                self._number, "reverse", person, lambda: self._sql.reverse(person.id, spend, amount, key),
                spend=spend, amount=amount, key=key,
            )  # fmt: skip
        elif kind < 0.24:
            await self._bank.insist(self._number, "balance", person, lambda: self._sql.balance(person.id))
        else:
            request = self._bank.request(person, self._chance)
            orders, commits = self._chance.random() < 0.4, self._chance.random() < 0.9
            await self._bank.spend(
                self._number, person, request,
                lambda: self._sql.use(person.id, request, orders=orders, commits=commits), orders=orders,
            )  # fmt: skip


class _Clerk:
    """A connection of the administrator that is opened again when it is lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    async def insist(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of something that may be done again, as often as it takes."""
        deadline = time.monotonic() + GIVEN_UP_AFTER
        while True:
            try:
                async with self._turn:
                    cursor = await (await self._connected()).execute(statement.encode(), arguments or None)
                    return await cursor.fetchall() if cursor.description else []
            except (psycopg.OperationalError, OSError):
                await self.close()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def give(self, user_id: str, free: int, paid: int, text: str) -> Answer:
        """Move credits to a user, as an administrator does: with the balance locked, or the time of the
        movement may be from before another's look at it."""
        async with self._turn:
            try:
                connection = await self._connected()
                async with connection.transaction():
                    await connection.execute("select auth.act_as(%s)", (user_id,))
                    await connection.execute("set local role mana_ledger")
                    await connection.execute(
                        "select from credits.balances where user_id = %s for no key update", (user_id,)
                    )
                    cursor = await connection.execute(
                        "select id::text, version from _credits.post_movements(array[row("
                        "    %s, 'adjustment', 'adjustments', %s, %s, %s, null, null, null, null, null"
                        ")::credits.movement])",
                        (user_id, free, paid, text),
                    )
                    [(identity, version)] = await cursor.fetchall()
            except (psycopg.OperationalError, OSError):
                await self.close()
                return Answer(UNKNOWN)
        return Answer(OK, 200, shown={"id": identity, "version": version})

    async def close(self) -> None:
        if self._connection:
            await self._connection.close()
            self._connection = None

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        self._connection = self._connection or await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5
        )
        return self._connection


# What must never be, however much is going on. It leans on no function of the product but the last.
_DISCREPANCIES = """
with moved as (
    select e.user_id, e.transaction_id,
           sum(case when e.credit_account in ('free', 'paid') then e.amount else 0 end
               - case when e.debit_account in ('free', 'paid') then e.amount else 0 end) as amount,
           sum(case when e.credit_account = 'free' then e.amount else 0 end
               - case when e.debit_account = 'free' then e.amount else 0 end) as free
      from credits.ledger_entries as e
     group by e.user_id, e.transaction_id
), folded as (
    select user_id, sum(amount) as amount, sum(free) as free from moved group by user_id
)
select 'entries differ from the transaction', coalesce(t.id, m.transaction_id)::text
  from credits.transactions as t
  full join moved as m on m.user_id = t.user_id and m.transaction_id = t.id
 where t.amount is distinct from m.amount
union all
select 'the balance is not the fold of its entries', coalesce(b.user_id, f.user_id)::text
  from credits.balances as b
  full join folded as f on f.user_id = b.user_id
 where (b.balance + b.free_credits_remaining, b.free_credits_remaining) is distinct from (f.amount, f.free)
union all
select 'a part of the balance is negative', b.user_id::text
  from credits.balances as b
 where b.balance < 0 or b.free_credits_remaining < 0
union all
select 'a key was applied twice', min(t.id::text)
  from credits.transactions as t
 where t.idempotency_key is not null
 group by t.user_id, t.idempotency_key
having count(*) > 1
union all
select 'a request was applied twice', min(t.id::text)
  from credits.transactions as t
 where t.type = 'usage'
 group by t.metadata ->> 'request'
having count(*) > 1
union all
select 'more was given back than spent', c.reverses::text
  from credits.causes as c
  join credits.transactions as back on back.user_id = c.user_id and back.id = c.transaction_id
  join credits.transactions as spend on spend.user_id = c.user_id and spend.id = c.reverses
 where spend.type = 'usage'
 group by c.user_id, c.reverses, spend.amount
having sum(back.amount) > -spend.amount
union all
select 'an order without its spend', o.transaction_id::text
  from shop.orders as o
 where not exists (select from credits.transactions as t where t.user_id = o.user_id and t.id = o.transaction_id)
union all
select 'verify_ledger: ' || v.problem, coalesce(v.transaction_id, v.user_id)::text
  from credits.verify_ledger() as v
union all
select 'check_ledger: ' || c.problem, coalesce(c.transaction_id, c.user_id)::text
  from credits.check_ledger(p_full => false) as c
"""

_LOST = """
select 'acknowledged, and not there', a.id
  from unnest(%s::text[]) as a (id)
 where not exists (select from credits.transactions as t where t.id = a.id::uuid)
"""

_MADE = (
    "select metadata ->> 'request', -amount from credits.transactions where metadata ->> 'request' = any(%s::text[])"
)

# What the judge compares with the model, in the order of the ledger.
_LEDGER = {
    "account": """
select json_build_object(
           'email', u.email, 'created', extract(epoch from b.created_at), 'free', b.free_credits_remaining,
           'paid', b.balance, 'earned', b.total_earned, 'spent', b.total_spent, 'version', b.version
       )
  from auth.users as u
  left join credits.balances as b on b.user_id = u.id
""",
    "movement": """
select json_build_object(
           'email', u.email, 'id', t.id, 'type', t.type, 'amount', t.amount, 'before', t.balance_before,
           'after', t.balance_after, 'free', t.free_after, 'spent', t.total_spent_after, 'version', t.version,
           'window', t.grant_window, 'app', t.app_id, 'description', t.description, 'metadata', t.metadata,
           'key', t.idempotency_key, 'at', extract(epoch from t.created_at), 'transaction', t.xmin::text,
           'reverses', spend.idempotency_key, 'cause', c.cause
       )
  from credits.transactions as t
  join auth.users as u on u.id = t.user_id
  left join credits.causes as c on c.user_id = t.user_id and c.transaction_id = t.id
  left join credits.transactions as spend on spend.user_id = c.user_id and spend.id = c.reverses
 order by t.user_id, t.id
""",
    "order": "select json_build_object('id', transaction_id) from shop.orders",
}
