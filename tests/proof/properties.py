"""State machines that drive the service against the model: one over HTTP, one through the SQL functions.

hypothesis draws sequences of what users, clocks and administrators do. Each answer has to be the
model's, and after each step the tables have to be as the model says. A sequence that fails is shrunk to
the shortest that still does, and printed as a program. The database's clock stands still until a step
moves it, so that the model knows the time of everything to the microsecond.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import psycopg
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    get_state_machine_test,
    initialize,
    invariant,
    multiple,
    rule,
)
from psycopg.rows import dict_row

from gateway.api.table import ROUTES
from gateway.tokens.access_tokens import TokenIssuer
from gateway.tokens.keys import KeyDirectory, KeyRing
from harness.clients import PASSWORD, Service
from harness.databases import Cluster, Database, start_cluster
from harness.doors import as_array, backend_login
from harness.gateways import Gateway
from proof.model import DAY, GRACE, KEPT, TICK, Model, Movement, Outcome, Token, User
from proof.model import Session as Login

START = datetime(2031, 12, 31, 22, tzinfo=UTC)
ACCESS_TTL = timedelta(minutes=15)
STEPS = 40

_ROUTES = {route.function: route for route in ROUTES}
EMAILS = ["ada@example.com", "bob@example.com", "cy@example.com"]
MOVES = [
    TICK, timedelta(seconds=1), GRACE, GRACE + TICK, timedelta(minutes=20), timedelta(hours=1), timedelta(hours=23),
    DAY - TICK, DAY, timedelta(days=3), timedelta(days=7), KEPT,
]  # fmt: skip

_FROZEN_CLOCK = """
create table test.moment (at timestamptz not null);
insert into test.moment values (now());
grant select on test.moment to public;
create or replace function base.clock() returns timestamptz language sql volatile as 'select at from test.moment';
"""

_BALANCES = """
select u.email, u.role::text, u.disabled_at is not null as disabled, b.free_credits_remaining as free,
       b.balance as paid, b.total_earned, b.total_spent, b.version
  from auth.users as u join credits.balances as b on b.user_id = u.id
"""
_MOVEMENTS = """
select u.email, t.id::text, t.type::text, t.amount, t.balance_before, t.balance_after, t.free_after,
       t.total_spent_after, t.version, t.grant_window, t.app_id, t.description, t.metadata, t.idempotency_key,
       t.created_at
  from credits.transactions as t join auth.users as u on u.id = t.user_id order by t.id
"""
_LIVE_SESSIONS = "select id::text, expires_at from auth.sessions where revoked_at is null and expires_at > %s"


@dataclass
class Answer:
    """What a door said; ``code`` is empty when it is no refusal."""

    status: int
    code: str
    body: Any
    headers: Mapping[str, str]


@dataclass(eq=False)
class Device:
    """A login as a client has it: its newest access token, and all of its refresh tokens."""

    login: Login
    session_id: str = ""
    access: str = ""  # over HTTP a token, in SQL its claims
    issued_at: datetime = START
    refresh: list[tuple[Token, str]] = field(default_factory=list)


@dataclass
class World:
    """What the machines act on."""

    database: Database
    admin: psycopg.Connection[dict[str, Any]]
    service: Service
    runner: asyncio.Runner
    keys: KeyRing
    as_gateway: psycopg.Connection[dict[str, Any]]
    as_backend: psycopg.Connection[dict[str, Any]]

    def set_clock(self, at: datetime) -> None:
        self.admin.execute("update test.moment set at = %s", (at,))

    def clear(self) -> None:
        """A new sequence begins, and nobody is there."""
        self.admin.execute("truncate auth.users cascade")
        self.set_clock(START)


@contextmanager
def world(cluster: Cluster) -> Iterator[World]:
    """A database whose clock stands still, and the ways to it."""
    with cluster.database() as database, database.connect() as connection:
        connection.execute(_FROZEN_CLOCK)
        with (
            Gateway(database.gateway_url) as gateway,
            backend_login(database) as backend_url,
            _connect(database.admin_url) as admin,
            _connect(database.gateway_url) as as_gateway,
            _connect(backend_url) as as_backend,
            asyncio.Runner() as runner,
        ):
            service = Service(gateway.url)
            runner.run(service.__aenter__())
            keys = KeyDirectory(gateway.data_dir / "keys").load()
            yield World(database, admin, service, runner, keys, as_gateway, as_backend)
            runner.run(service.__aexit__())


def _connect(url: str) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.connect(url, autocommit=True, row_factory=dict_row)


EMAIL = st.sampled_from([*EMAILS, EMAILS[0].upper()])
AMOUNT = st.one_of(st.integers(1, 200), st.sampled_from([149, 150, 151, 155, 156, 10**9]))
PAYLOAD = st.fixed_dictionaries(
    {
        "amount": AMOUNT,
        "app_id": st.sampled_from(["chat", "shop"]),
        "description": st.sampled_from(["an answer", "a book"]),
        "metadata": st.sampled_from([None, {"n": 1}]),
        "key": st.sampled_from([None, "k1", "k2"]),
    }
)
OTHER = st.sampled_from([{}, {"amount": 2}, {"metadata": {"n": 2}}, {"description": "a film"}, {"app_id": "film"}])
VERSION = st.sampled_from(["any", "any", "seen", "old"])
LISTING = st.fixed_dictionaries(
    {
        "limit": st.integers(1, 5),
        "offset": st.integers(0, 3),
        "type": st.sampled_from([None, None, "usage", "bonus", "adjustment"]),
        "appId": st.sampled_from([None, None, "chat", "shop"]),
        "idempotencyKey": st.sampled_from([None, None, None, "k1", "k3"]),
    }
)
WHICH = st.sampled_from(["current", "previous", "ancient"])


class Machine(RuleBasedStateMachine):
    """What people do to the service, whatever the door."""

    users: Bundle[User] = Bundle("users")
    devices: Bundle[Device] = Bundle("devices")
    payloads: Bundle[dict[str, Any]] = Bundle("payloads")
    live = devices.filter(lambda device: not device.login.revoked_at)  # more of those than chance would have

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.at = START
        self.model = Model()
        self.user_ids: dict[str, str] = {}
        self.ids: dict[str, list[str]] = {}  # of each user's transactions, in the order of the ledger
        self.logged_in: list[Device] = []
        world.clear()
        for email in EMAILS[:2]:
            self.register(email)
            self.log_in(email, right=True)

    # ------------------------------------------------------------ what the doors differ in

    def ask(self, function: str, device: Device | None = None, **fields: Any) -> Answer:
        """Call the function of ``api``, or the route that leads to it. Fields are those of a request."""
        raise NotImplementedError

    def access(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """What a login or a refresh gives to call with, and its claims."""
        raise NotImplementedError

    def expired(self, device: Device) -> bool:
        """Whether the door refuses the access token, whatever the database says."""
        raise NotImplementedError

    # ------------------------------------------------------------ who is there

    @initialize(target=users)
    def two_people(self) -> Any:
        return multiple(*self.model.users.values())

    @initialize(target=devices)
    def a_device_each(self) -> Any:
        return multiple(*self.logged_in)

    @rule(target=users, email=EMAIL)
    def register(self, email: str) -> Any:
        expected = self.model.register(self.at, email)
        answer = self.ask("register_user", email=email, password=PASSWORD)
        if not agree(expected, answer):
            return multiple()
        assert expected.user
        assert answer.body["createdAt"] == _iso(self.at)
        self.user_ids[expected.user.email] = answer.body["id"]
        return expected.user

    @rule(target=devices, email=EMAIL, right=st.sampled_from([True, True, True, False]))
    def log_in(self, email: str, right: bool) -> Any:
        expected = self.model.login(self.at, email, right_password=right)
        answer = self.ask("log_in", email=email, password=PASSWORD if right else "not the password")
        if not agree(expected, answer):
            return multiple()
        assert expected.token
        device = Device(expected.token.session)
        self.keep(device, expected, answer)
        self.logged_in.append(device)
        return device

    def keep(self, device: Device, expected: Outcome, answer: Answer) -> None:
        """A device takes over what it was given, which has to be the right thing."""
        assert expected.user
        assert expected.token
        text = answer.body["refreshToken"]
        device.access, claims = self.access(answer.body)
        device.issued_at = self.at
        device.session_id = device.session_id or claims["sessionId"]
        user_id = self.user_ids[expected.user.email]
        assert (claims["sub"], claims["sessionId"], claims["role"]) == (user_id, device.session_id, expected.user.role)
        shown = {"id": user_id, "email": expected.user.email, "name": None, "role": expected.user.role}
        assert answer.body["user"] == shown
        known = dict(device.refresh)
        assert known.setdefault(expected.token, text) == text, "a token has one successor"
        assert list(known.values()).count(text) == 1, "each token is another one"
        device.refresh = list(known.items())

    @rule(device=live, which=WHICH)
    def refresh(self, device: Device, which: str) -> None:
        token, text = pick(device, which)
        expected = self.model.refresh(self.at, token)
        answer = self.ask("refresh_session", refreshToken=text)
        if agree(expected, answer):
            self.keep(device, expected, answer)

    @rule(device=live, after=st.sampled_from([timedelta(), GRACE, GRACE + TICK]))
    def refresh_twice(self, device: Device, after: timedelta) -> None:
        """The same token comes again when the grace is not over, just about to end, or over."""
        self.refresh(device, "current")
        self.time_passes(after)
        self.refresh(device, "previous")

    @rule(device=devices)
    def log_out(self, device: Device) -> None:
        expected = self.refusal(device) or self.model.log_out(self.at, device.login)
        agree(expected, self.ask("log_out", device))

    @rule(device=devices, which=WHICH)
    def log_out_by_refresh_token(self, device: Device, which: str) -> None:
        token, text = pick(device, which)
        agree(self.model.log_out_by_token(self.at, token), self.ask("log_out", refreshToken=text))

    @rule(device=devices)
    def validate(self, device: Device) -> None:
        answer = self.ask("validate", device)
        valid = not self.expired(device) and self.model.validate(self.at, device.login)
        assert (answer.status, answer.body["valid"]) == (200, valid)

    def refusal(self, device: Device) -> Outcome | None:
        return Outcome(401, "token_expired") if self.expired(device) else None

    # ------------------------------------------------------------ credits

    @rule(device=live, payload=PAYLOAD, version=VERSION, target=payloads)
    def use(self, device: Device, payload: dict[str, Any], version: str) -> dict[str, Any]:
        """Spend as an app does, at the version it saw or one that is past."""
        user = device.login.user
        expected_version = version_of(user, version)
        expected = self.refusal(device) or self.model.use(
            self.at, user, **payload, expected_version=expected_version, session=device.login
        )
        answer = self.ask("use_credits", device, **_as_request(payload), expectedVersion=expected_version)
        if agree(expected, answer):
            movement = expected.movement
            assert movement
            assert fits(movement, answer.body["transaction"])
            assert answer.body["newBalance"] == {
                "balance": movement.paid,
                "freeCreditsRemaining": movement.free,
                "totalSpent": movement.total_spent,
                "version": movement.version,
            }
            assert (answer.headers.get("Idempotency-Replayed") == "true") == expected.replayed
        return payload

    @rule(device=live, payload=PAYLOAD, other=OTHER)
    def use_twice(self, device: Device, payload: dict[str, Any], other: dict[str, Any]) -> None:
        """A retry at once, or the same key for another request."""
        keyed = payload | {"key": payload["key"] or "k3"}
        self.use(device, keyed, "any")
        self.use(device, keyed | other, "any")

    @rule(device=live, payload=payloads, other=OTHER)
    def use_again(self, device: Device, payload: dict[str, Any], other: dict[str, Any]) -> None:
        """A retry, or one that turns out to be another request."""
        self.use(device, payload | other, "any")

    @rule(device=devices)
    def balance(self, device: Device) -> None:
        expected = self.refusal(device) or self.model.balance(self.at, device.login.user, device.login)
        answer = self.ask("get_balance", device)
        if agree(expected, answer):
            shown = expected.balance
            assert shown
            assert answer.body == {
                "balance": shown.paid,
                "freeCreditsRemaining": shown.free,
                "held": 0,
                "debt": 0,
                "spendable": shown.paid + shown.free,
                "totalEarned": shown.total_earned,
                "totalSpent": shown.total_spent,
                "dailyFreeCredits": shown.daily_free,
                "nextDailyCreditsAt": _iso(shown.next_daily_at),
                "version": shown.version,
            }

    @rule(device=live, asked=LISTING, before=st.one_of(st.none(), st.integers(0, 10)))
    def transactions(self, device: Device, asked: dict[str, Any], before: int | None) -> None:
        """A page: those of a type, an app and a key, before the one that is so many from the newest."""
        user = device.login.user
        newest_first = list(zip(self.model.transactions(user), reversed(self.ids[user.email]), strict=True))
        cursor = None
        if before is not None and before < len(newest_first):
            cursor = newest_first[before][1]
            newest_first = newest_first[before + 1 :]
        kind, app, key = asked["type"], asked["appId"], asked["idempotencyKey"]
        found = [
            (m, i)
            for m, i in newest_first
            if kind in {None, m.type} and app in {None, m.app_id} and key in {None, m.key}
        ]
        limit, offset = asked["limit"], asked["offset"]
        page, more = found[offset : offset + limit], found[offset + limit :]

        answer = self.ask("list_transactions", device, **asked, before=cursor)
        if agree(self.refusal(device) or self.model.permits(self.at, device.login), answer):
            assert [row["id"] for row in answer.body] == [identity for _, identity in page]
            assert all(fits(movement, row) for (movement, _), row in zip(page, answer.body, strict=True))
            assert next_before(answer) == (page[-1][1] if more and not key else None)

    @rule(device=live, limit=st.integers(1, 4))
    def all_pages(self, device: Device, limit: int) -> None:
        """One page after the other, along the cursor, is the whole list."""
        user = device.login.user
        permitted = self.refusal(device) or self.model.permits(self.at, device.login)
        rows: list[dict[str, Any]] = []
        before = None
        while agree(permitted, answer := self.ask("list_transactions", device, limit=limit, offset=0, before=before)):
            rows += answer.body
            if not (before := next_before(answer)):
                assert [row["id"] for row in rows] == self.ids[user.email][::-1]
                break

    # ------------------------------------------------------------ time and administrators

    @rule(by=st.sampled_from(MOVES))
    def time_passes(self, by: timedelta) -> None:
        self.at += by
        self.world.set_clock(self.at)

    @rule(user=users, disabled=st.sampled_from([False, False, True]))
    def set_disabled(self, user: User, disabled: bool) -> None:
        self.model.set_disabled(self.at, user, disabled)
        self.world.admin.execute("select auth.set_disabled(%s, %s)", (user.email, disabled))

    @rule(user=users, role=st.sampled_from(["user", "user", "user", "admin", "service"]))
    def set_role(self, user: User, role: str) -> None:
        self.model.set_role(user, role)
        self.world.admin.execute("select auth.set_role(%s, %s)", (user.email, role))

    @rule(user=users, part=st.sampled_from(["free", "paid"]), amount=st.integers(1, 100))
    def give(self, user: User, part: str, amount: int) -> None:
        self.model.adjust(self.at, user, **{part: amount})
        self.world.database.give_credits(self.user_ids[user.email], **{part: amount})

    # ------------------------------------------------------------ what holds after every step

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        self.the_balances_are_the_models()
        self.the_transactions_are_the_models()
        self.the_live_sessions_are_the_models()
        self.the_ledger_is_sound()

    def the_balances_are_the_models(self) -> None:
        rows = self.world.admin.execute(_BALANCES).fetchall()
        found = {row.pop("email"): row for row in rows}
        assert found == {
            user.email: {
                "role": user.role,
                "disabled": user.disabled,
                "free": user.free,
                "paid": user.paid,
                "total_earned": user.total_earned,
                "total_spent": user.total_spent,
                "version": user.version,
            }
            for user in self.model.users.values()
        }

    def the_transactions_are_the_models(self) -> None:
        found: dict[str, list[dict[str, Any]]] = {email: [] for email in self.model.users}
        self.ids = {email: [] for email in self.model.users}
        for row in self.world.admin.execute(_MOVEMENTS):
            email = row.pop("email")
            self.ids[email].append(row.pop("id"))
            found[email].append(row)
        assert found == {user.email: [_as_row(m) for m in user.movements] for user in self.model.users.values()}

    def the_live_sessions_are_the_models(self) -> None:
        rows = self.world.admin.execute(_LIVE_SESSIONS, (self.at,)).fetchall()
        logins = {device.session_id: device.login for device in self.logged_in}
        live = {i: login for i, login in logins.items() if not login.revoked_at and login.expires_at > self.at}
        assert {row["id"]: row["expires_at"] for row in rows} == {i: login.expires_at for i, login in live.items()}

    def the_ledger_is_sound(self) -> None:
        assert self.world.admin.execute("select * from credits.verify_ledger()").fetchall() == []


class OverHttp(Machine):
    """Apps, at a gateway whose clock goes with the database's."""

    def ask(self, function: str, device: Device | None = None, **fields: Any) -> Answer:
        route = _ROUTES[function]
        sent = {name: value for name, value in fields.items() if value is not None}
        token = self.presented(device) if device else None
        if function == "validate":
            sent, token = {"token": token}, None
        path = route.path + (f"?{urlencode(sent)}" if route.query else "")
        body = sent if route.body and sent else None
        reply = self.world.runner.run(self.world.service.request(route.method, path, token=token, body=body))
        return Answer(reply.status, reply.body["code"] if reply.status >= 400 else "", reply.body, reply.headers)

    def access(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        token = body["accessToken"]
        return token, jwt.decode(token, options={"verify_signature": False})

    def expired(self, device: Device) -> bool:
        return self.at - device.issued_at > ACCESS_TTL

    def presented(self, device: Device) -> str:
        """The device's token, which has become older when the clock has moved since."""
        if self.at == device.issued_at:
            return device.access
        left = ACCESS_TTL - (self.at - device.issued_at)
        _, claims = self.access({"accessToken": device.access})
        return TokenIssuer(lambda: self.world.keys, claims["iss"], claims["aud"], int(left.total_seconds())).sign(
            claims
        )


class InSql(Machine):
    """What the gateway calls, called by its role, and trusted backends beside it."""

    def ask(self, function: str, device: Device | None = None, **fields: Any) -> Answer:
        given: dict[str, Any] = {_snake(name): value for name, value in fields.items()}
        given |= {"context": "{}", "refresh_ttl": self.model.session_ttl}
        if device:
            given |= {"user_id": self.user_ids[device.login.user.email], "claims": device.access}
        elif "refresh_token" in given:
            given["user_id"] = given["refresh_token"].partition(".")[0]
        route = _ROUTES[function]
        given["password_digest"] = given.get("password")
        arguments = [_argument(given.get(name)) for name in route.parameters]
        if route.serves_many:
            arguments = [*(as_array([value]) for value in arguments), "t"]
        connection = self.world.as_gateway
        try:
            cursor = psycopg.RawCursor(connection, row_factory=dict_row).execute(
                route.statement.sql.encode(), arguments
            )
        except psycopg.Error as error:
            return _refused(error)
        [row] = cursor.fetchall()
        code = row["body"]["code"] if row["status"] >= 400 else ""
        return Answer(row["status"], code, row["body"], row["headers"] or {})

    def access(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return json.dumps(body["claims"]), body["claims"]

    def expired(self, device: Device) -> bool:
        return False  # that is the gateway's to say

    def act(self, user: User, statement: str, *arguments: object) -> Answer:
        """The rows of a trusted backend's statement for a user."""
        backend = self.world.as_backend
        try:
            with backend.transaction():
                backend.execute("select auth.act_as(%s)", (self.user_ids[user.email],))
                return Answer(200, "", backend.execute(statement.encode(), arguments).fetchall(), {})
        except psycopg.Error as error:
            return _refused(error)

    @rule(user=Machine.users, payload=PAYLOAD, version=VERSION, target=Machine.payloads)
    def use_as_backend(self, user: User, payload: dict[str, Any], version: str) -> dict[str, Any]:
        expected_version = version_of(user, version)
        expected = self.model.use(self.at, user, **payload, expected_version=expected_version)
        answer = self.act(
            user,
            "select * from credits.use_credits(%s, %s, %s, %s, %s, %s)",
            *(_argument(payload[name]) for name in ("amount", "app_id", "description", "key", "metadata")),
            expected_version,
        )
        if agree(expected, answer):
            movement = expected.movement
            assert movement
            [row] = answer.body
            shown = _as_row(movement)
            found = {name: row[name] for name in shown if name in row} | {"total_spent_after": row["total_spent"]}
            assert found == {name: shown[name] for name in found}
            assert (row["balance"], row["free_credits_remaining"]) == (movement.paid, movement.free)
            assert row["replayed"] == expected.replayed
        return payload

    @rule(user=Machine.users)
    def balance_as_backend(self, user: User) -> None:
        expected = self.model.balance(self.at, user)
        answer = self.act(user, "select * from credits.get_balance()")
        if agree(expected, answer):
            assert expected.balance
            assert [tuple(row.values()) for row in answer.body] == [
                (
                    expected.balance.paid,
                    expected.balance.free,
                    expected.balance.total_earned,
                    expected.balance.total_spent,
                    expected.balance.daily_free,
                    expected.balance.next_daily_at,
                    expected.balance.version,
                )
            ]


def agree(expected: Outcome, answer: Answer) -> bool:
    """Whether the model and the door both say yes. Raises when they differ."""
    assert (answer.status, answer.code) == (expected.status, expected.code), answer.body
    return expected.ok


def pick(device: Device, which: str) -> tuple[Token, str]:
    """One of the refresh tokens that a device was given."""
    tokens = device.refresh
    return {"current": tokens[-1], "previous": tokens[-2:][0], "ancient": tokens[0]}[which]


def version_of(user: User, which: str) -> int | None:
    """The version that a spend names."""
    return {"any": None, "seen": user.version, "old": max(user.version - 1, 0)}[which]


def fits(movement: Movement, row: dict[str, Any]) -> bool:
    """Whether a transaction as clients see it is this movement."""
    shown = {
        "type": movement.type,
        "amount": movement.amount,
        "balanceBefore": movement.balance_before,
        "balanceAfter": movement.balance_after,
        "appId": movement.app_id,
        "description": movement.description,
        "metadata": movement.metadata,
        "idempotencyKey": movement.key,
        "createdAt": _iso(movement.at),
    }
    return shown.items() <= row.items()


def next_before(answer: Answer) -> str | None:
    """The cursor of the next page."""
    link = answer.headers.get("Link", "")
    return dict(parse_qsl(urlsplit(link.partition(">")[0]).query)).get("before") or answer.headers.get("X-Next-Before")


def _as_row(movement: Movement) -> dict[str, Any]:
    return {
        "type": movement.type,
        "amount": movement.amount,
        "balance_before": movement.balance_before,
        "balance_after": movement.balance_after,
        "free_after": movement.free,
        "total_spent_after": movement.total_spent,
        "version": movement.version,
        "grant_window": movement.window,
        "app_id": movement.app_id,
        "description": movement.description,
        "metadata": movement.metadata,
        "idempotency_key": movement.key,
        "created_at": movement.at,
    }


def _as_request(payload: dict[str, Any]) -> dict[str, Any]:
    names = {"app_id": "appId", "key": "idempotencyKey"}
    return {names.get(name, name): value for name, value in payload.items()}


def _argument(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _refused(error: psycopg.Error) -> Answer:
    """The refusal that a function raised. Raises any other error."""
    if not (error.sqlstate or "").startswith("PT"):
        raise error
    return Answer(int((error.sqlstate or "")[2:]), error.diag.message_primary or "", str(error), {})


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


MACHINES: tuple[type[Machine], ...] = (OverHttp, InSql)


def drive(machine: type[Machine], world: World, examples: int, number: int) -> None:
    """Try so many sequences from this seed. The same seed tries the same ones."""
    test = get_state_machine_test(
        partial(machine, world),  # type: ignore[arg-type]
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    try:
        seed(number)(test)()
    except BaseException as error:
        error.add_note(f"{machine.__name__}, {examples} examples of seed {number}")
        raise


def soak(examples: int, number: int) -> None:
    """The long form, on a server of its own."""
    with start_cluster() as cluster, world(cluster) as made:
        for machine in MACHINES:
            began = time.monotonic()
            drive(machine, made, examples, number)
            print(f"{machine.__name__}: {examples} sequences of up to {STEPS} steps, {time.monotonic() - began:.0f} s")
