"""The two ways in, as a client sees them: each attempt ends ok, refused, or unknown.

Refused means that nothing of it can have happened. Unknown means that the answer did not come, or was
503: it may have happened, and may still be happening.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from harness.clients import PASSWORD, Service
from proof.history import OK, REFUSED, UNKNOWN

PATIENCE = 15.0  # seconds that a client waits for an answer; more than any timeout of the service
APP = "bank"

# Classes of SQLSTATE by which the server says "not now" and rolls back.
_NOT_NOW = ("08", "40", "53", "55P03", "57")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt; ``shown`` is the part of the answer that is judged."""

    outcome: str
    status: int = 0
    code: str = ""
    shown: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    replayed: bool = False

    @property
    def ok(self) -> bool:
        return self.outcome == OK


@dataclass(slots=True, eq=False)
class Request:
    """A spend as it is asked for, perhaps more than once.

    Its amount and its label make it what it is: the ledger has them, the label in description and metadata.
    """

    number: int
    label: int
    amount: int
    key: str | None
    expected_version: int | None
    pending: int = 0  # clients that wait for an answer
    doubtful: bool = False  # an attempt ended unknown: it may come to something even later
    paid: bool = False  # an attempt was ok
    other: Request | None = None  # the same with another amount, and so another payload

    @property
    def refused(self) -> bool:
        """Whether all attempts were refused, so that nothing of it can be in the ledger."""
        return not (self.pending or self.doubtful or self.paid)

    @property
    def metadata(self) -> dict[str, int]:
        return {"request": self.label}

    @property
    def description(self) -> str:
        return f"spend {self.label}"


class Http:
    """The gateway's API."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def register(self, email: str) -> Answer:
        return await self._ask("POST", "/auth/register", {"email": email, "password": PASSWORD})

    async def login(self, email: str) -> Answer:
        return _with_token(await self._ask("POST", "/auth/login", {"email": email, "password": PASSWORD}))

    async def refresh(self, token: str) -> Answer:
        return _with_token(await self._ask("POST", "/auth/refresh", {"refreshToken": token}))

    async def log_out(self, access: str) -> Answer:
        return await self._ask("POST", "/auth/logout", access=access)

    async def log_out_by_token(self, token: str) -> Answer:
        return await self._ask("POST", "/auth/logout", {"refreshToken": token})

    async def balance(self, access: str) -> Answer:
        answer = await self._ask("GET", "/credits/balance", access=access)
        if not answer.ok:
            return answer
        body = answer.body
        return Answer(OK, 200, shown={
            "free": body["freeCreditsRemaining"], "paid": body["balance"], "earned": body["totalEarned"],
            "spent": body["totalSpent"], "daily": body["dailyFreeCredits"], "next": body["nextDailyCreditsAt"],
            "version": body["version"],
        })  # fmt: skip

    async def use(self, access: str, request: Request) -> Answer:
        body = {
            "amount": request.amount, "appId": APP, "description": request.description, "metadata": request.metadata,
            "idempotencyKey": request.key, "expectedVersion": request.expected_version,
        }  # fmt: skip
        answer = await self._ask("POST", "/credits/use", body, access)
        if not answer.ok:
            return answer
        made, left = answer.body["transaction"], answer.body["newBalance"]
        return Answer(OK, 200, shown={
            "id": made["id"], "amount": made["amount"], "before": made["balanceBefore"],
            "after": made["balanceAfter"], "free": left["freeCreditsRemaining"], "paid": left["balance"],
            "spent": left["totalSpent"], "version": left["version"], "created": made["createdAt"],
            "replayed": answer.replayed,
        })  # fmt: skip

    async def _ask(self, method: str, path: str, body: object = None, access: str | None = None) -> Answer:
        try:
            async with asyncio.timeout(PATIENCE):
                reply = await self._service.request(method, f"/api/v1{path}", token=access, body=body)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return Answer(UNKNOWN)
        if reply.status == 503:
            return Answer(UNKNOWN, 503)
        if reply.status >= 400:
            return Answer(REFUSED, reply.status, (reply.body or {}).get("code", ""))
        return Answer(OK, reply.status, body=reply.body, replayed="Idempotency-Replayed" in reply.headers)


def fingerprint(token: str) -> str:
    """What a history has in place of a refresh token."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def _with_token(answer: Answer) -> Answer:
    return replace(answer, shown={"token": fingerprint(answer.body["refreshToken"])}) if answer.ok else answer


_USE = """
select id, amount, balance_before, balance_after, free_credits_remaining, balance, total_spent, version, created_at,
       replayed
  from credits.use_credits(
      p_amount => %s, p_app_id => %s, p_description => %s, p_idempotency_key => %s, p_metadata => %s,
      p_expected_version => %s
  )
"""


_REVERSE = """
select id, amount, balance_before, balance_after, free_credits_remaining, balance, total_spent, version, created_at,
       replayed
  from credits.reverse_spend(
      p_app_id => %s, p_reason => 'failed', p_spend_key => %s, p_amount => %s, p_idempotency_key => %s
  )
"""


def _shown(receipt: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(receipt["id"]), "amount": receipt["amount"], "before": receipt["balance_before"],
        "after": receipt["balance_after"], "free": receipt["free_credits_remaining"], "paid": receipt["balance"],
        "spent": receipt["total_spent"], "version": receipt["version"], "created": receipt["created_at"].isoformat(),
        "replayed": receipt["replayed"],
    }  # fmt: skip


class Sql:
    """A trusted backend: a connection of a member of mana_backend, opened again when it is lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection[dict[str, Any]] | None = None

    async def close(self) -> None:
        if self._connection:
            await self._connection.close()
            self._connection = None

    async def balance(self, user_id: str) -> Answer:
        async def work(connection: psycopg.AsyncConnection[dict[str, Any]]) -> dict[str, Any]:
            row = await _row(connection, "select * from credits.get_balance()", ())
            return {
                "free": row["free_credits_remaining"], "paid": row["balance"], "earned": row["total_earned"],
                "spent": row["total_spent"], "daily": row["daily_free_credits"],
                "next": row["next_daily_credits_at"].isoformat(), "version": row["version"],
            }  # fmt: skip

        return await self._transaction(user_id, work, commits=True)

    async def use(self, user_id: str, request: Request, *, orders: bool, commits: bool) -> Answer:
        """Spend; ``orders`` adds a row of the backend's own, and without ``commits`` all is rolled back."""

        async def work(connection: psycopg.AsyncConnection[dict[str, Any]]) -> dict[str, Any]:
            asked = (request.amount, APP, request.description, request.key, Jsonb(request.metadata))
            row = await _row(connection, _USE, (*asked, request.expected_version))
            if orders:
                await connection.execute(
                    "insert into shop.orders (user_id, transaction_id) values (%s, %s) on conflict do nothing",
                    (user_id, row["id"]),
                )
            return _shown(row)

        return await self._transaction(user_id, work, commits)

    async def reverse(self, user_id: str, spend_key: str, amount: int | None, key: str) -> Answer:
        """Give back this much of the spend with a key, or all that is left."""

        async def work(connection: psycopg.AsyncConnection[dict[str, Any]]) -> dict[str, Any]:
            return _shown(await _row(connection, _REVERSE, (APP, spend_key, amount, key)))

        return await self._transaction(user_id, work, commits=True)

    async def _transaction(self, user_id: str, work: Any, commits: bool) -> Answer:
        committing = False
        impatience = None
        try:
            connection = self._connection = self._connection or await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, row_factory=dict_row, connect_timeout=5
            )
            # Not asyncio's timeout: psycopg would ask the server to cancel, and wait for its answer.
            impatience = asyncio.get_running_loop().call_later(PATIENCE, _hang_up, connection)
            await connection.execute("begin")
            await connection.execute("select auth.act_as(%s)", (user_id,))
            shown = await work(connection)
            committing = commits
            await connection.execute(b"commit" if commits else b"rollback")
        except (psycopg.Error, OSError) as error:
            state = getattr(error, "sqlstate", None) or ""
            if state.startswith("PT"):
                assert self._connection
                with contextlib.suppress(psycopg.Error):  # the next transaction finds out, and connects again
                    await self._connection.execute("rollback")
                return Answer(REFUSED, int(state[2:]), error.diag.message_primary or "")  # type: ignore[union-attr]
            await self.close()
            if committing:
                return Answer(UNKNOWN)
            # Nobody has sent a commit, so it cannot have been.
            known = not state or state.startswith(_NOT_NOW)
            return Answer(REFUSED, 503, "not_now" if known else f"sqlstate {state}")
        finally:
            if impatience:
                impatience.cancel()
        return Answer(OK, 200, shown=shown) if commits else Answer(REFUSED, 0, "rolled_back")


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


async def _row(
    connection: psycopg.AsyncConnection[dict[str, Any]], statement: str, arguments: tuple[object, ...]
) -> dict[str, Any]:
    row = await (await connection.execute(statement.encode(), arguments)).fetchone()
    assert row is not None
    return row
