"""Calls of every SQL function, with values that nobody should send.

Each is called by the roles that may call it at run time; any other is called as the administrator when it
has its owner's rights, and as its owner when it has its caller's. Those in ``TRUSTING`` may fail as they like.

What a function may raise is read from the "Raises" of its own header: a pair of status and code
is declared there, "as f does" and "what f raises" take in another function's. Whatever else comes
back is a finding.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from gateway.api.table import ROUTES
from gateway.operate.migrate import DEFINERS, SCHEMAS
from gateway.tokens import passwords
from harness.clients import PASSWORD, Session
from harness.databases import Database
from harness.doors import backend_login
from harness.gateways import PEPPER
from harness.places import ROOT

_ROUTES = {route.function for route in ROUTES}
RUNTIME_ROLES = ("mana_gateway", "mana_api", "mana_backend", "mana_reader")

# Internal functions that check nothing: what they cannot bear, their callers never pass.
TRUSTING = {
    "base.uuid_v7": "its time is that of base.clock()",
    "_auth.create_session": "auth.log_in has checked the device and the lifetime",
    "_auth.record_event": "the events are named in the functions of auth",
    "_auth.revoke_session": "the reasons are named in the functions of auth",
    "base.refuse": "the codes are named in its callers, and it refuses by raising",
    "credits.grant_window": "its times are those of a balance and of base.clock()",
    "_credits.due_window": "its times are those of a balance and of base.clock()",
    "_credits.balance_summary": "its row is one of credits.balances",
    "_credits.spendable": "its row is one of credits.balances",
    "_payments.book_payment": "its callers have found the order",
    "_payments.know_objects": "its callers have found the order",
    "_credits.post_for_cause": "its callers have locked the balance and made the movement",
    "_credits.receipt": "its row is one of credits.transactions",
    "credits.open_account": "its time is that of auth.register_user, which makes the user",
    "_credits.post_movements": "its callers have checked the amounts and the texts",
}

_FUNCTIONS = """
select role, n.nspname, p.proname, coalesce(p.proargnames[1:p.pronargs], '{}'),
       array(select format_type(t, null) from unnest(p.proargtypes) with ordinality as a (t, i) order by i)
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace
 cross join lateral (
     select array(
         select r from unnest(%s::text[]) as r
          where has_function_privilege(r, p.oid, 'execute') and has_schema_privilege(r, n.oid, 'usage')
     ) as roles
 ) as may
 cross join lateral unnest(
     case when roles <> '{}' then roles
          when p.prosecdef then array[current_user::text]
          else array[p.proowner::regrole::text] end
 ) as role
 where n.nspname = any (%s)
 order by 1, 2, 3
"""
_COLUMNS = """
select format_type(atttypid, null) from pg_attribute
 where attrelid = (select typrelid from pg_type where oid = %s::regtype) and attnum > 0 and not attisdropped
 order by attnum
"""

MEGABYTE = "a" * 2**20
DEEP = "[" * 100_000
TEXTS = (
    None, "", " ", "a", "\x01\u2028\ufeff", "\U0001f600" * 64, "%s %n {0}", "' or 1=1; --", "\\", "null", "-1", "NaN",
    "1e400", "{", "[]", "5", '"a"', "{}", '{"a":"\\u0000"}', '{"a":"\\ud800"}', '{"ip":"nowhere"}', '{"sub":null}',
    DEEP, MEGABYTE, f'{{"userAgent":"{MEGABYTE}"}}',
)  # fmt: skip
VALUES: dict[str, tuple[str | None, ...]] = {
    "text": TEXTS,
    "uuid": (None, str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1)), str(uuid.uuid4())),
    "bigint": (None, "0", "-1", "1", "1000000000", "1000000001", str(2**63 - 1), str(-(2**63))),
    "bytea": (None, "", "\\x00", "\\x" + "ff" * 32, MEGABYTE),
    "integer": (None, "0", "-1", "1", "102", str(2**31 - 1), str(-(2**31))),
    "boolean": (None, "true", "false"),
    "json": (None, "{}", "[]", "null", '"a"', "-1", '{"a":"\\u0000"}', f'{{"a":"{MEGABYTE}"}}'),
    "jsonb": (None, "{}", "[]", "null", '"a"', "-1", "1e1000", '{"a":{"b":[null]}}', f'{{"a":"{MEGABYTE}"}}'),
    "interval": (None, "0", "-1 day", "1 us", "178000000 years", "-178000000 years", "2147483647 days"),
    "timestamp with time zone": (None, "infinity", "-infinity", "epoch", "294276-12-31", "4713-01-01 BC"),
}


Value = str | None | list[str | None]


@dataclass(frozen=True)
class Function:
    schema: str
    name: str
    parameters: tuple[tuple[str, str], ...]  # name, type

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def statement(self) -> str:
        # No cast to a type of ours: only a role that may look into its schema could write it.
        arguments = ", ".join(
            f"{name} => %s" if "." in kind else f"{name} => %s::{kind}" for name, kind in self.parameters
        )
        return f"select * from {self.qualified}({arguments})"


@cache
def declared(function: str) -> frozenset[tuple[int, str]]:
    """Status and code of all that the function's header says it raises or returns."""
    schema, _, name = function.partition(".")
    [file] = (ROOT / "sql" / "functions" / schema).rglob(f"{name}.sql")
    header = file.read_text().partition("create or replace")[0]
    pairs = {(int(status), code) for status, code in re.findall(r"\b(?:PT)?(\d{3})[ ]+(\w+_\w+|not_found)", header)}
    for other in re.findall(r"(?:as|what) (\w+\.\w+) (?:does|raises|refuses|returns)", header):
        pairs |= declared(other)
    return frozenset(pairs)


@dataclass(frozen=True)
class Finding:
    role: str
    function: str
    arguments: tuple[Value, ...]
    signed_in: bool
    outcome: str

    def __str__(self) -> str:
        texts = [str(value) for value in self.arguments]
        shown = [text if len(text) < 80 else f"{text[:30]}..{len(text)}" for text in texts]
        user = "for a user" if self.signed_in else "for nobody"
        return f"{self.role} {self.function}({', '.join(shown)}) {user}: {self.outcome}"


class SqlFuzz:
    """One run. Every call is rolled back, so that each sees the same database."""

    def __init__(self, database: Database, user: Session, other: Session, seed: int) -> None:
        self.random = random.Random(seed)
        self._every = 1
        self.calls = 0
        self.fuzzed: set[str] = set()
        self.trusting: set[str] = set()  # those that did fail as they like
        self.reached: set[tuple[int, str]] = set()
        self._database = database
        self._user = user
        [(session_id,)] = database.query("select id::text from auth.sessions where user_id = %s", user.user_id)
        self._claims = json.dumps({"sub": user.user_id, "role": "user", "sessionId": session_id})
        context = json.dumps({"ip": "127.0.0.1", "userAgent": "fuzz", "requestId": "1"})
        digest = passwords.digest(PEPPER, PASSWORD)
        # What would be right, by the parameter's name; anything else is left out or a value of its type.
        self._right: dict[str, str | None] = {
            "p_user_id": user.user_id, "p_claims": self._claims, "p_context": context, "p_email": user.email,
            "p_password": digest, "p_password_digest": digest, "p_refresh_token": user.refresh_token,
            "p_refresh_ttl": "7 days", "p_ttl": "7 days", "p_amount": "1", "p_app_id": "fuzz",
            "p_description": "a call", "p_limit": "10", "p_offset": "0", "p_session_id": session_id,
            "p_created_at": "2030-01-01", "p_at": "2030-01-01",
            "p_spendings": _row([user.user_id, "1", "fuzz", "a call", None, None, None, None]),
        }  # fmt: skip
        self._values: dict[str, tuple[Value, ...]] = VALUES | {
            "uuid": (*VALUES["uuid"], user.user_id, other.user_id),
            "text": (*TEXTS, user.email, other.email, user.refresh_token, other.refresh_token, self._claims,
                     self._with_claim("sub", other.user_id), self._with_claim("sessionId", "none"),
                     self._with_claim("sessionId", None), self._with_claim("role", ["user"]),
                     self._with_claim("role", "admin"), self._with_claim("role", "\0")),
        }  # fmt: skip

    def _with_claim(self, name: str, value: object) -> str:
        return json.dumps({**json.loads(self._claims), name: value})

    def run(self, examples: int, every: int = 1) -> Iterator[Finding]:
        """Each value in each place (or one of ``every``), then ``examples`` random calls of each function."""
        self._every = every
        with backend_login(self._database) as backend:
            logins = {"mana_gateway": self._database.gateway_url, "mana_backend": backend}
            for role, functions in self.functions().items():
                with psycopg.connect(logins.get(role, self._database.admin_url), autocommit=True) as connection:
                    connection.adapters.register_loader("timestamptz", TextLoader)  # Python's end with the year 9999
                    if role not in logins:
                        connection.execute(f"set role {role}".encode())
                    for function in functions:
                        self.fuzzed.add(function.qualified)
                        for finding in self._fuzz(connection, role, function, examples):
                            if function.qualified in TRUSTING:
                                self.trusting.add(function.qualified)
                            else:
                                yield finding

    def functions(self) -> dict[str, list[Function]]:
        """Every function of ours, by who calls it here."""
        found: defaultdict[str, list[Function]] = defaultdict(list)
        for role, schema, name, names, kinds in self._database.query(_FUNCTIONS, list(RUNTIME_ROLES), list(SCHEMAS)):
            found[role].append(Function(schema, name, tuple(zip(names, kinds, strict=True))))
        return found

    def _fuzz(
        self, connection: psycopg.Connection[Any], role: str, function: Function, examples: int
    ) -> Iterator[Finding]:
        right = tuple(self._rightful(name, kind) for name, kind in function.parameters)
        calls: list[tuple[Value, ...]] = [right]
        for place, (_, kind) in enumerate(function.parameters):
            values = self._pool(kind)[place % self._every :: self._every]
            calls += [(*right[:place], value, *right[place + 1 :]) for value in values]
        for _ in range(examples):
            calls.append(
                tuple(
                    given if self.random.random() < 0.5 else self.random.choice(self._pool(kind))
                    for given, (_, kind) in zip(right, function.parameters, strict=True)
                )
            )
        # Functions of api say themselves for whom they are called, and internal ones are called for a user.
        for_whom = (False,) if function.schema == "api" else (True,) if role in DEFINERS else (False, True)
        for arguments in calls:
            for signed_in in for_whom:
                outcome = self._call(connection, role, function, arguments, signed_in)
                if outcome:
                    yield Finding(role, function.qualified, arguments, signed_in, outcome)

    def _rightful(self, name: str, kind: str) -> Value:
        if kind.endswith("[]"):  # p_amounts, of which each is a p_amount
            return [self._right.get(name, self._right.get(name.removesuffix("s")))]
        return self._right.get(name)

    @cache  # noqa: B019 - it lives as long as a run
    def _pool(self, kind: str) -> tuple[Value, ...]:
        if kind in self._values:
            return self._values[kind]
        if kind.endswith("[]"):
            elements = self._pool(kind.removesuffix("[]"))
            return (None, [], *([self.random.choice(elements) for _ in range(size)] for size in (1, 1, 1, 2, 2, 3)))
        labels = self._database.query("select enumlabel from pg_enum where enumtypid = %s::regtype", kind)
        if labels:
            return (None, *(label for (label,) in labels))
        columns = [self._pool(column) for (column,) in self._database.query(_COLUMNS, kind)]
        return (None, *(_row([self.random.choice(pool) for pool in columns]) for _ in range(20)))

    def _call(
        self,
        connection: psycopg.Connection[Any],
        role: str,
        function: Function,
        arguments: tuple[Value, ...],
        signed_in: bool,
    ) -> str | None:
        """What is wrong with the outcome; None when nothing is."""
        self.calls += 1
        with connection.transaction(force_rollback=True):
            if signed_in and role == "mana_api":
                connection.execute("select auth.begin_request(%s, %s, '{}')", (self._user.user_id, self._claims))
            elif signed_in and role == "mana_backend":
                connection.execute("select auth.act_as(%s)", (self._user.user_id,))
            elif signed_in:
                connection.execute("reset role")
                connection.execute(
                    "select _auth.assume_users(array[%s]::uuid[], %s)", (self._user.user_id, self._claims)
                )
                connection.execute(f"set role {role}".encode())
            try:
                rows = connection.execute(function.statement.encode(), arguments).fetchall()
            except psycopg.Error as error:
                state = error.sqlstate or "lost"
                code = error.diag.message_primary or ""
                outcome = (int(state[2:]), code) if re.fullmatch(r"PT\d{3}", state) else None
                if outcome is None or outcome not in declared(function.qualified):
                    return f"{state} {code}"
                self.reached.add(outcome)
                return None
        # api.reply: a refusal that is returned is declared as well.
        if function.schema == "api" and function.name in _ROUTES and rows and (rows[0][0] or 0) >= 400:
            outcome = (rows[0][0], rows[0][1]["code"])
            if outcome not in declared(function.qualified):
                return f"returned {outcome}"
            self.reached.add(outcome)
        return None


def _row(values: list[Value]) -> str:
    """A row as PostgreSQL writes it."""
    quoted = ("" if v is None else '"' + str(v).replace("\\", "\\\\").replace('"', '""') + '"' for v in values)
    return f"({','.join(quoted)})"
