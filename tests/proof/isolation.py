"""Isolation: users mixed on few connections, and not one row or claim that is somebody else's.

Three doors lead to one database through PgBouncer in transaction mode: HTTP, SQL as the gateway and
SQL as a trusted backend. Every user's data carries the user's mark, and every answer is searched for
the marks and ids of others. After each transaction PgBouncer itself asks the server connection whether
anything of it is left, as its reset query.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jwt
import psycopg
from psycopg.rows import dict_row

from gateway.api.table import ROUTES
from harness.clients import Service, Session
from harness.databases import Cluster, Database, start_cluster
from harness.doors import as_array, backend_login
from harness.gateways import Gateway
from harness.servers import PgBouncer
from harness.waiting import together

PLAN_CACHE_MODES = ("force_custom_plan", "force_generic_plan")
SERVER_CONNECTIONS = 3  # that all clients of a role share
CLIENTS = {"http": 12, "gateway": 6, "backend": 6}
USERS = 4  # of each client; nobody else calls for them, so what an answer has to hold is known exactly
REMEMBERED = 100  # transactions of a user
PATIENCE = 100  # attempts, 0.1 s apart, while the answer is "not now"

_ROUTES = {route.function: route for route in ROUTES}
_MARK = re.compile(r"mark-\d+-")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# How a spend can be made to fail, by the end of its description: what SQL and HTTP answer then.
FAULTS = {
    "constraint": ({"23514"}, "internal_error"),
    "at commit": ({"P0001"}, "internal_error"),
    "cancelled": ({"57014"}, "service_unavailable"),
    "lock timeout": ({"55P03"}, "service_unavailable"),
    "killed": ({"57P01", "08P01", None}, "service_unavailable"),  # PgBouncer may be the one to tell
}
NOT_NOW = {"service_unavailable", "55P03"}  # a backend that is killed tells first and unlocks then

_FOR_THIS_TEST = """
create sequence test.looks;
create table test.leaks (role text, users text, claims text, seal text, context text, lock_timeout text);
create function test.look_for_leaks() returns void language plpgsql security definer as $$
declare
    v_found test.leaks := (
        session_user, nullif(current_setting('request.user_ids', true), ''),
        nullif(current_setting('request.jwt.claims', true), ''), nullif(current_setting('request.seal', true), ''),
        nullif(current_setting('request.context', true), ''), current_setting('lock_timeout')
    );
begin
    perform nextval('test.looks');
    if coalesce(v_found.users, v_found.claims, v_found.seal) is not null or v_found.context is not null
       or v_found.lock_timeout <> (case session_user when 'mana_gateway' then '500ms' else '0' end) then
        insert into test.leaks values (v_found.*);
    end if;
end $$;

create table test.held (id int);
insert into test.held values (1);
create function test.fail() returns trigger language plpgsql security definer as $$
begin
    case substring(new.description from ': (.*)')
        when 'at commit' then
            if tg_when = 'AFTER' then
                raise 'not at commit';
            end if;
        when 'cancelled' then
            perform pg_cancel_backend(pg_backend_pid()), pg_sleep(10);
        when 'killed' then
            perform pg_terminate_backend(pg_backend_pid()), pg_sleep(10);
        when 'lock timeout' then
            perform set_config('lock_timeout', '1ms', true);
            perform from test.held for update;
        else
    end case;
    return new;
end $$;
create trigger fail before insert on credits.transactions for each row execute function test.fail();
create constraint trigger fail_at_commit after insert on credits.transactions
    deferrable initially deferred for each row execute function test.fail();
alter table credits.transactions add constraint refused check (description not like '%: constraint');
"""

_PURCHASES = """
insert into credits.purchases (user_id, id, credits, price_euro_cents, stripe_payment_intent_id, created_at)
select id, base.uuid_v7(now()), 1, 1, split_part(email, '@', 1), now()
  from auth.users where email = any(%s)
returning user_id::text, id::text
"""


@dataclass(eq=False)
class User:
    """A user, and all that an answer to them may hold."""

    number: int
    session: Session
    purchase: str
    claims: str = ""  # of the first access token; they hold as long as the session
    calls: int = 0
    spent: int = 0
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # ids, the newest last

    def __post_init__(self) -> None:
        self.claims = _claims(self.session)

    @property
    def mark(self) -> str:
        return f"mark-{self.number}-"

    @property
    def ids(self) -> tuple[str, ...]:
        """What nobody else may get to see."""
        return self.session.user_id, json.loads(self.claims)["sessionId"], self.purchase

    def spend(self, amount: int = 1, how: str = "fine") -> dict[str, Any]:
        """The body of a new spend."""
        self.calls += 1
        return {
            "amount": amount,
            "appId": self.mark,
            "description": f"{self.mark}: {how}",
            "idempotencyKey": f"{self.mark}{self.calls}",
            "metadata": {"of": self.mark},
        }


@dataclass(frozen=True)
class Answer:
    """What a door said: ``code`` is ok, a problem's code or a SQLSTATE; ``text`` is all of it."""

    code: str | None
    text: str = ""
    body: Any = None


Call = Callable[[], Coroutine[Any, Any, Answer]]


class Door(Protocol):
    """A way in. A body is as HTTP has it, whatever the door."""

    refuses_nobody: str  # how, while there is no user

    async def use(self, user: User, body: dict[str, Any]) -> Answer: ...
    async def balance(self, user: User) -> Answer: ...
    async def transactions(self, user: User, limit: int) -> Answer: ...
    async def purchases(self, user: User) -> Answer: ...
    async def nobody(self) -> Answer: ...
    async def together(self, users: Sequence[User], bodies: Sequence[dict[str, Any]]) -> list[Answer]:
        """Spend for several users at once; where the door has one transaction for them, in one."""
        ...

    def peculiar(self, user: User, other: User) -> dict[str, tuple[str, Call]]:
        """What only this door has, each with the code to expect. Of ``other`` nothing is to be seen."""
        ...


class Http:
    """The gateway, which puts calls that wait into one transaction."""

    refuses_nobody = "authentication_required"

    def __init__(self, service: Service) -> None:
        self._service = service

    async def _ask(self, method: str, path: str, user: User | None = None, body: object = None) -> Answer:
        token = user.session.access_token if user else None
        reply = await self._service.request(method, f"/api/v1{path}", token=token, body=body)
        code = "ok" if reply.status == 200 else reply.body["code"]
        return Answer(code, reply.text, reply.body)

    async def use(self, user: User, body: dict[str, Any]) -> Answer:
        return await self._ask("POST", "/credits/use", user, body)

    async def balance(self, user: User) -> Answer:
        return await self._ask("GET", "/credits/balance", user)

    async def transactions(self, user: User, limit: int) -> Answer:
        return await self._ask("GET", f"/credits/transactions?limit={limit}", user)

    async def purchases(self, user: User) -> Answer:
        return await self._ask("GET", "/credits/purchases", user)

    async def nobody(self) -> Answer:
        return await self._ask("GET", "/credits/balance")

    async def together(self, users: Sequence[User], bodies: Sequence[dict[str, Any]]) -> list[Answer]:
        return await together(*(self.use(user, body) for user, body in zip(users, bodies, strict=True)))

    def peculiar(self, user: User, other: User) -> dict[str, tuple[str, Call]]:
        session = user.session
        mine, theirs = (someone.session.refresh_token.partition(".") for someone in (user, other))
        mixed = {"refreshToken": f"{mine[0]}.{theirs[2]}"}
        wrong = {"email": session.email, "password": "not the password"}
        return {
            "validate": ("ok", lambda: self._ask("POST", "/auth/validate", body={"token": session.access_token})),
            "refresh": ("ok", lambda: self._refresh(session)),
            "mixed refresh token": ("invalid_refresh_token", lambda: self._ask("POST", "/auth/refresh", body=mixed)),
            "wrong password": ("invalid_credentials", lambda: self._ask("POST", "/auth/login", body=wrong)),
        }

    async def _refresh(self, session: Session) -> Answer:
        answer = await self._ask("POST", "/auth/refresh", body={"refreshToken": session.refresh_token})
        if answer.code != "ok":
            return answer
        session.access_token, session.refresh_token = answer.body["accessToken"], answer.body["refreshToken"]
        return Answer("ok", json.dumps([answer.body, json.loads(_claims(session))]))


class Sql:
    """A connection to the pooler, opened again when it broke."""

    refuses_nobody = "authentication_required"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection[dict[str, Any]] | None = None

    async def _open(self) -> psycopg.AsyncConnection[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                cursor_factory=psycopg.AsyncRawCursor,
            )
        return self._connection

    async def close(self) -> None:
        if self._connection:
            await self._connection.close()

    async def plan_cache_mode(self) -> str:
        """What the server connections of this role are set to."""
        answer = await self._rows(("show plan_cache_mode", ()))
        return str(answer.body[0]["plan_cache_mode"])

    async def _rows(self, *statements: tuple[str, Sequence[object]]) -> Answer:
        """The rows of the last statement. More than one are a transaction."""
        try:
            connection = await self._open()
            async with connection.transaction() if len(statements) > 1 else nullcontext():
                for statement, arguments in statements:
                    cursor = await connection.execute(statement.encode(), arguments)
                    rows = await cursor.fetchall()
        except psycopg.Error as error:
            raised = (error.sqlstate or "").startswith("PT")
            return Answer(error.diag.message_primary if raised else error.sqlstate, str(error))
        return Answer("ok", json.dumps(rows, default=str), rows)

    async def nobody(self) -> Answer:
        return await self._rows(("select * from credits.list_transactions()", ()))


class AsGateway(Sql):
    """What the gateway sends, without the gateway."""

    refuses_nobody = "42501"  # what is behind the api functions is not for the gateway to call

    async def _call(self, function: str, user: User, *arguments: str | None, claims: str | None = None) -> Answer:
        route = _ROUTES[function]
        given = [user.session.user_id, user.claims if claims is None else claims, "{}", *arguments]
        given += [None] * (len(route.parameters) - len(given))
        if route.serves_many:
            given = [*(as_array([value]) for value in given), "t"]
        return self._answers(await self._rows((route.statement.sql, given)))[0]

    def _answers(self, answer: Answer, count: int = 1) -> list[Answer]:
        if answer.code != "ok":
            return [answer] * count
        return [
            Answer(
                "ok" if row["status"] == 200 else row["body"]["code"],
                json.dumps([row["body"], row["headers"]]),
                row["body"],
            )
            for row in answer.body
        ]

    @staticmethod
    def _arguments(body: dict[str, Any]) -> list[str | None]:
        version = body.get("expectedVersion")
        return [
            str(body["amount"]), body["appId"], body["description"], body["idempotencyKey"],
            json.dumps(body["metadata"]), None if version is None else str(version),
        ]  # fmt: skip

    async def use(self, user: User, body: dict[str, Any]) -> Answer:
        return await self._call("use_credits", user, *self._arguments(body))

    async def balance(self, user: User) -> Answer:
        return await self._call("get_balance", user)

    async def transactions(self, user: User, limit: int) -> Answer:
        return await self._call("list_transactions", user, str(limit), "0")

    async def purchases(self, user: User) -> Answer:
        return await self._call("list_purchases", user)

    async def together(self, users: Sequence[User], bodies: Sequence[dict[str, Any]]) -> list[Answer]:
        rows = [
            [user.session.user_id, user.claims, "{}", *self._arguments(body)]
            for user, body in zip(users, bodies, strict=True)
        ]
        columns = [*(as_array(column) for column in zip(*rows, strict=True)), "f"]
        return self._answers(await self._rows((_ROUTES["use_credits"].statement.sql, columns)), len(users))

    def peculiar(self, user: User, other: User) -> dict[str, tuple[str, Call]]:
        return {
            "validate": ("ok", lambda: self._call("validate", user)),
            "foreign claims": ("invalid_token", lambda: self._call("get_balance", user, claims=other.claims)),
            "no claims": ("invalid_token", lambda: self._call("list_transactions", user, "50", "0", claims="")),
        }


class AsBackend(Sql):
    """A trusted backend: it says for whom it acts, then calls, all in its own transaction.

    ``elsewhere`` is one of another app.
    """

    def __init__(self, url: str, elsewhere: AsBackend | None = None) -> None:
        super().__init__(url)
        self._elsewhere = elsewhere

    async def close(self) -> None:
        await super().close()
        if self._elsewhere:
            await self._elsewhere.close()

    async def _act(self, user: User, statement: str, *arguments: object) -> Answer:
        return await self._rows(self._acting(user), (statement, arguments))

    @staticmethod
    def _acting(user: User) -> tuple[str, Sequence[object]]:
        return "select auth.act_as($1)", (user.session.user_id,)

    @staticmethod
    def _using(body: dict[str, Any]) -> tuple[str, Sequence[object]]:
        return "select * from credits.use_credits($1, $2, $3, $4, $5, $6)", (
            body["amount"], body["appId"], body["description"], body["idempotencyKey"],
            json.dumps(body["metadata"]), body.get("expectedVersion"),
        )  # fmt: skip

    @staticmethod
    def _spent(answer: Answer) -> Answer:
        """The receipt in the words of HTTP."""
        if answer.code != "ok":
            return answer
        [row] = answer.body
        return Answer(
            "ok", answer.text, {"transaction": {"id": str(row["id"])}, "newBalance": {"totalSpent": row["total_spent"]}}
        )

    async def use(self, user: User, body: dict[str, Any]) -> Answer:
        return self._spent(await self._rows(self._acting(user), self._using(body)))

    async def balance(self, user: User) -> Answer:
        answer = await self._act(user, "select * from credits.get_balance()")
        return Answer(answer.code, answer.text, {"totalSpent": answer.body[0]["total_spent"]} if answer.body else None)

    async def transactions(self, user: User, limit: int) -> Answer:
        answer = await self._act(user, "select * from credits.list_transactions($1)", limit)
        rows = [{"id": str(row["id"])} for row in answer.body or ()]
        return Answer(answer.code, answer.text, rows)

    async def purchases(self, user: User) -> Answer:
        answer = await self._act(user, "select * from credits.list_purchases()")
        rows = [{"id": str(row["id"])} for row in answer.body or ()]
        return Answer(answer.code, answer.text, rows)

    async def together(self, users: Sequence[User], bodies: Sequence[dict[str, Any]]) -> list[Answer]:
        """One user after the other in one transaction; only the last one's receipt is looked at."""
        steps = [
            step for user, body in zip(users, bodies, strict=True) for step in (self._acting(user), self._using(body))
        ]
        last = self._spent(await self._rows(*steps))
        return [*[Answer(last.code, "" if last.code == "ok" else last.text)] * (len(users) - 1), last]

    def peculiar(self, user: User, other: User) -> dict[str, tuple[str, Call]]:
        listing = ("select * from credits.list_transactions()", ())

        async def outside_of_a_transaction() -> Answer:
            await self._rows(self._acting(user))
            return await self.nobody()

        async def from_another_app() -> Answer:
            assert self._elsewhere
            answer = await self._elsewhere.transactions(user, REMEMBERED)
            return Answer("a spend of another app", answer.text) if user.mark in answer.text else answer

        async def for_another_app() -> Answer:
            assert self._elsewhere
            return await self._elsewhere.use(user, user.spend())

        return {
            "listing from another app": ("ok", from_another_app),
            "spending for another app": ("app_not_allowed", for_another_app),
            "acting outside of a transaction": ("authentication_required", outside_of_a_transaction),
            "acting for two": ("ok", lambda: self._rows(self._acting(other), listing, self._acting(user), listing)),
            "acting for a stranger": (
                "not_found",
                lambda: self._rows(("select auth.act_as($1)", (uuid.uuid4(),)), listing),
            ),
        }


def _claims(session: Session) -> str:
    return json.dumps(jwt.decode(session.access_token, options={"verify_signature": False}))


class Foreign(AssertionError):
    """Somebody saw what is not theirs, or did not see what is."""


@dataclass(eq=False)
class Client:
    """One who calls through a door for some users, one call after the other."""

    name: str
    door: Door
    users: list[User]
    owners: dict[str, User]  # of everybody: whose an id is
    random: random.Random
    calls: Counter[str]
    log: deque[str] = field(default_factory=lambda: deque(maxlen=30))

    async def step(self) -> None:
        """One call of some kind, and all that its answer has to be."""
        user = self.random.choice(self.users)
        acts: dict[Callable[[User], Coroutine[Any, Any, None]], int] = {
            self._use: 30, self._balance: 20, self._transactions: 15, self._purchases: 5, self._refused: 8,
            self._fault: 3, self._together: 8, self._nobody: 3, self._peculiar: 5,
        }  # fmt: skip
        [act] = self.random.choices(list(acts), list(acts.values()))
        await act(user)

    async def _do(self, what: str, user: User | None, call: Call, *expected: str | None) -> Answer:
        """Make the call until the answer is more than "not now", and look for others in it."""
        who = user.mark if user else "nobody"
        self.log.append(f"{what} for {who}")
        for _ in range(PATIENCE):
            answer: Answer = await call()
            self.calls[what] += 1
            self._check_marks(answer, user)
            if answer.code in expected or answer.code not in NOT_NOW:
                break
            await self._wait()
        self._expect(answer.code in expected, f"{what} for {who}: {answer.code}, not {expected}", answer)
        return answer

    async def _wait(self) -> None:
        self.calls["not now"] += 1
        await asyncio.sleep(0.1)

    def _expect(self, fact: bool, message: str, answer: Answer) -> None:
        if not fact:
            before = "\n  ".join(self.log)
            raise Foreign(f"{self.name}: {message}\nanswer: {answer.text[:2000]}\ncalls before it:\n  {before}")

    def _check_marks(self, answer: Answer, user: User | None) -> None:
        own = {user.mark} if user else set()
        self._expect(set(_MARK.findall(answer.text)) <= own, "there is a foreign mark", answer)
        foreign = [found for found in _UUID.findall(answer.text) if self.owners.get(found, user) is not user]
        self._expect(not foreign, f"{foreign} are somebody else's", answer)

    def _note(self, user: User, body: dict[str, Any], answer: Answer) -> None:
        """The spend happened: the answer fits, and those that follow have to know it."""
        user.spent += body["amount"]
        user.seen.append(answer.body["transaction"]["id"])
        self._expect(answer.body["newBalance"]["totalSpent"] == user.spent, f"spent is not {user.spent}", answer)

    async def _use(self, user: User) -> None:
        body = user.spend(self.random.randint(1, 3))
        self._note(user, body, await self._do("use", user, lambda: self.door.use(user, body), "ok"))

    async def _balance(self, user: User) -> None:
        answer = await self._do("balance", user, lambda: self.door.balance(user), "ok")
        self._expect(answer.body["totalSpent"] == user.spent, f"spent is not {user.spent}", answer)

    async def _transactions(self, user: User) -> None:
        limit = min(self.random.choice([1, 3, 10, 10, 10, REMEMBERED]), len(user.seen))
        answer = await self._do("transactions", user, lambda: self.door.transactions(user, limit), "ok")
        ids = [row["id"] for row in answer.body]
        self._expect(ids == list(reversed(user.seen))[:limit], f"not the last {limit} of {user.mark}", answer)

    async def _purchases(self, user: User) -> None:
        answer = await self._do("purchases", user, lambda: self.door.purchases(user), "ok")
        self._expect([row["id"] for row in answer.body] == [user.purchase], "not the purchases", answer)

    async def _refused(self, user: User) -> None:
        """A refusal that the functions raise or return."""
        body, code = self.random.choice(
            [
                (user.spend(10**9), "insufficient_credits"),
                (user.spend() | {"expectedVersion": 0}, "version_conflict"),
                (user.spend() | {"amount": 0}, "invalid_request"),
                (user.spend(2) | {"idempotencyKey": f"{user.mark}first"}, "idempotency_key_reused"),
            ]
        )
        await self._do(code, user, lambda: self.door.use(user, body), code)

    def _broken(self, user: User) -> tuple[str, dict[str, Any], set[str | None]]:
        """A spend that PostgreSQL is going to break off, how, and what the door may say to that."""
        how = self.random.choice(list(FAULTS))
        states, code = FAULTS[how]
        # Over HTTP, a neighbour in the same transaction may have been killed.
        return how, user.spend(how=how), {code, "service_unavailable"} if isinstance(self.door, Http) else states

    async def _fault(self, user: User) -> None:
        how, body, codes = self._broken(user)
        await self._do(how, user, lambda: self.door.use(user, body), *codes)

    async def _together(self, _: User) -> None:
        """Spends of several users at once, one of them broken half of the time."""
        # In the order of the gateway's batches, so that these wait for none of them.
        users = sorted(self.random.sample(self.users, self.random.randint(2, USERS)), key=lambda u: u.session.user_id)
        bodies = [user.spend() for user in users]
        broken, codes = None, set[str | None]({"ok"})
        if self.random.random() < 0.5:
            broken = self.random.choice(users)
            how, bodies[users.index(broken)], codes = self._broken(broken)
            self.log.append(f"{how} for {broken.mark} in the following")
        self.log.append(f"together for {[user.mark for user in users]}")
        shared = not isinstance(self.door, Http)  # over HTTP each call ends as if it had been alone
        for _ in range(PATIENCE):
            answers = await self.door.together(users, bodies)
            self.calls["together"] += len(users)
            if not shared or answers[-1].code in codes or answers[-1].code not in NOT_NOW:
                break
            await self._wait()
        for user, body, answer in zip(users, bodies, answers, strict=True):
            self._check_marks(answer, user)
            if shared or user is broken:
                self._expect(answer.code in codes, f"{user.mark} got {answer.code}, not {codes}", answer)
            if broken and (shared or user is broken):
                continue
            if answer.body is None or answer.code in NOT_NOW:  # the retry has the receipt
                answer = await self._do("use", user, partial(self.door.use, user, body), "ok")  # noqa: PLW2901
            self._expect(answer.code == "ok", f"a neighbour's fault shows: {answer.code}", answer)
            self._note(user, body, answer)

    async def _nobody(self, _: User) -> None:
        await self._do("nobody", None, self.door.nobody, self.door.refuses_nobody)

    async def _peculiar(self, user: User) -> None:
        other = self.random.choice([owner for owner in self.owners.values() if owner is not user])
        choices = self.door.peculiar(user, other)
        what = self.random.choice(list(choices))
        code, call = choices[what]
        await self._do(what, user, call, code)


@dataclass(frozen=True)
class Figures:
    """What a run came to: calls by kind, looks at a connection that was let go, shared transactions."""

    mode: str
    calls: Counter[str]
    looks: int
    shared: int

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.calls.most_common())
        return (
            f"{self.mode}: {self.calls.total()} calls, none with a foreign row; {self.looks} looks at a connection "
            f"that was let go, nothing left on it; {self.shared} spends shared a transaction\n  {kinds}"
        )


async def mix(cluster: Cluster, mode: str, calls: int, seed: int, seconds: float = math.inf) -> Figures:
    """Make so many calls with this plan_cache_mode, or as many as there is time for. Raises Foreign."""
    with cluster.database() as database:
        with database.connect() as connection:
            connection.execute(_FOR_THIS_TEST)
            connection.execute(f"alter database {database.name} set plan_cache_mode = {mode}".encode())
        look = {"server_reset_query": "select test.look_for_leaks()", "server_reset_query_always": "1"}
        with (
            backend_login(database) as backend_url,
            backend_login(database, ["elsewhere"], "elsewhere") as elsewhere_url,
            PgBouncer(cluster, SERVER_CONNECTIONS, logins=[backend_url, elsewhere_url], settings=look) as pooler,
            Gateway(pooler.url(database), {"JWT_ACCESS_TOKEN_EXPIRY": "7d", "LOG_LEVEL": "error"}) as gateway,
            database.connect() as holder,
            holder.transaction(),
        ):
            holder.execute("set local idle_in_transaction_session_timeout = 0")
            holder.execute("select from test.held for update")
            async with Service(gateway.url) as service, AsyncExitStack() as stack:
                doors: list[tuple[str, Door]] = [("http", Http(service)) for _ in range(CLIENTS["http"])]
                for door in (
                    *(AsGateway(pooler.url(database)) for _ in range(CLIENTS["gateway"])),
                    *(
                        AsBackend(pooler.through(backend_url), AsBackend(pooler.through(elsewhere_url)))
                        for _ in range(CLIENTS["backend"])
                    ),
                ):
                    stack.push_async_callback(door.close)
                    assert await door.plan_cache_mode() == mode
                    doors.append(("sql", door))
                users = await _users(database, service, len(doors) * USERS)
                owners = {identity: user for user in users for identity in user.ids}
                counted: Counter[str] = Counter()
                clients = []
                for number, (kind, door) in enumerate(doors):
                    name = f"client {number} ({kind}) of seed {seed}"
                    own = users[number * USERS : (number + 1) * USERS]
                    clients.append(Client(name, door, own, owners, random.Random(name), counted))
                deadline = time.monotonic() + seconds
                try:
                    async with asyncio.TaskGroup() as group:
                        for client in clients:
                            group.create_task(_work(client, calls, deadline))
                except ExceptionGroup as failures:
                    raise failures.exceptions[0] from None
        return _account(database, clients, mode)


async def _users(database: Database, service: Service, count: int) -> list[User]:
    """Users who are rich, and have a purchase and a first spend each; a few at a time."""
    database.query("select credits.configure(p_signup_bonus => 1000000000)")
    users = []
    for first in range(0, count, USERS):
        emails = [f"mark-{number}-@example.com" for number in range(first, first + USERS)]
        assert {reply.status for reply in await together(*map(service.register, emails))} == {201}
        purchases = dict(database.query(_PURCHASES, emails))
        sessions = await together(*map(service.session, emails))
        some = [User(first + n, session, purchases[session.user_id]) for n, session in enumerate(sessions)]
        await together(*map(_first_spend, some))
        users += some
    return users


async def _first_spend(user: User) -> None:
    reply = await user.session.use(**user.spend() | {"idempotencyKey": f"{user.mark}first"})
    assert reply.status == 200, reply.text
    user.spent = 1
    user.seen.extend(row["id"] for row in reversed((await user.session.get("/api/v1/credits/transactions")).body))


async def _work(client: Client, calls: int, deadline: float) -> None:
    while client.calls.total() < calls and time.monotonic() < deadline:
        await client.step()


def _account(database: Database, clients: Sequence[Client], mode: str) -> Figures:
    """The database's own view of it: nothing was left, and everything is where it belongs."""
    leaks = database.query("select * from test.leaks limit 10")
    assert not leaks, f"left on a connection that was let go, {clients[0].name}: {leaks}"
    [(looks,)] = database.query("select last_value from test.looks")
    spends = database.query(
        """select user_id::text, array_agg(distinct app_id), -sum(amount)::bigint
             from credits.transactions where type = 'usage' group by user_id"""
    )
    users = [user for client in clients for user in client.users]
    expected = {user.session.user_id: ([user.mark], user.spent) for user in users}
    assert {user_id: (marks, spent) for user_id, marks, spent in spends} == expected
    database.assert_ledger_is_sound()
    over_http = [uuid.UUID(user.session.user_id) for c in clients if isinstance(c.door, Http) for user in c.users]
    [(shared,)] = database.query(
        """select count(*) - count(distinct xmin::text)
             from credits.transactions where type = 'usage' and user_id = any(%s)""",
        over_http,
    )
    return Figures(mode, clients[0].calls, looks, shared)


def soak(calls: int, minutes: float, seed: int) -> None:
    """The long form: half of it with each plan_cache_mode, on a server of its own."""
    parts = len(PLAN_CACHE_MODES)
    with start_cluster() as cluster:
        for mode in PLAN_CACHE_MODES:
            figures = asyncio.run(mix(cluster, mode, calls // parts, seed, minutes * 60 / parts))
            print(f"seed {seed}, {figures}", flush=True)
