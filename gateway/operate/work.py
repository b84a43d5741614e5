"""``mana work``: looks at purchases again that may have changed, and asks for the refunds that were written down.

Any number of workers may run at once: each purchase is leased to one. The database decides what is due; the
worker asks the payment provider and hands the answer on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from psycopg.rows import dict_row

from gateway.operate.connecting import connect_async
from gateway.outside import payments as outside
from gateway.outside.payments import Payments, RefundRefusedError, Snapshot
from gateway.problems import OperatorError, Problem
from gateway.settings.working import Work

LEASE = timedelta(minutes=2)  # longer than all that is asked for one purchase
AT_ONCE = 8  # purchases that are looked at side by side
IDLE = 1.0  # seconds between two looks for work when there is none
AGAIN = 5.0  # seconds after the database failed
# A page can be paid on for 24 hours. After that, nobody pays a purchase whose page is not known here.
PAGES_LAST = timedelta(hours=25)
REFUSALS = ("PT", "22", "23")  # SQLSTATEs that are about one purchase, not about the database


class Metrics:
    """The metrics of `mana work`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.looks = Counter(
            "mana_work_looks", "Purchases that were looked at, by what came of it", ["outcome"], registry=self.registry
        )
        self.refunds = Counter(
            "mana_work_refunds", "Refunds that were asked for, by the answer", ["outcome"], registry=self.registry
        )
        self.waiting = Gauge(
            "mana_work_waiting", "Purchases with news that nobody has looked at", registry=self.registry
        )
        self.oldest = Gauge(
            "mana_work_oldest_seconds", "How long the longest of them has been waiting", registry=self.registry
        )
        self.last = Gauge(
            "mana_work_last_timestamp_seconds", "When work was last looked for, since 1970", registry=self.registry
        )


class _Refund(msgspec.Struct, frozen=True):
    id: str
    amount: int | None
    reason: str
    payment_intent_id: str | None


class _Task(msgspec.Struct, frozen=True):
    """A row of payments.claim_tasks."""

    user_id: UUID
    purchase_id: UUID
    ticket: int
    livemode: bool
    session_id: str | None
    customer_id: str | None
    created_at: datetime
    status: str
    refunds: list[_Refund] | None
    attempts: int


async def work(settings: Work) -> None:
    """Work until cancelled; what has begun is finished. Raises OSError when the port for the metrics is taken."""
    metrics = Metrics()
    log = structlog.get_logger()
    server, _ = start_http_server(settings.port, settings.host, metrics.registry)
    log.info("working", port=server.server_port)
    async with outside.connected(settings.stripe_secret_key, settings.stripe_api_base) as provider:
        if provider is None:
            log.info("nothing_is_sold")  # without a key
            await asyncio.Event().wait()
            return
        while True:
            try:
                async with await connect_async(settings.database_url) as connection:
                    await Worker(connection, provider, metrics).run()
            except (OperatorError, psycopg.Error, OSError) as error:
                log.warning("work_failed", error=getattr(error, "sqlstate", None) or type(error).__name__)
                await asyncio.sleep(AGAIN)


class Worker:
    """One worker on one connection in autocommit."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], provider: Payments, metrics: Metrics) -> None:
        self._connection = connection
        self._provider = provider
        self._metrics = metrics

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            batch = asyncio.create_task(self.batch())
            try:
                found = await asyncio.shield(batch)
            except asyncio.CancelledError:
                await batch
                raise
            if not found:
                await asyncio.sleep(IDLE)

    async def batch(self) -> int:
        """Do what is due, up to AT_ONCE purchases; returns how many there were."""
        [backlog] = await self._rows("select * from payments.backlog()")
        self._metrics.waiting.set(backlog["waiting"])
        self._metrics.oldest.set(backlog["oldest_seconds"])
        self._metrics.last.set(time.time())
        rows = await self._rows("select * from payments.claim_tasks(%s, %s)", AT_ONCE, LEASE)
        tasks = [msgspec.convert(row, _Task, strict=False) for row in rows]
        await asyncio.gather(*(self._do(task) for task in tasks))
        return len(tasks)

    async def _do(self, task: _Task) -> None:
        try:
            if task.livemode != self._provider.livemode:
                raise Problem("payments_unavailable", "This purchase is of the provider's other mode.")
            for refund in task.refunds or ():
                await self._ask_for(refund, task)
            snapshot = await self._look(task)
            await self._rows(
                "select from payments.apply_snapshot(%s, %s, %s, %s)",
                task.user_id, task.purchase_id, task.ticket, msgspec.json.encode(snapshot).decode(),
            )  # fmt: skip
            outcome = "done"
        except Problem as problem:
            outcome = problem.code
            await self._put_off(task, outcome)
        except psycopg.DatabaseError as error:
            outcome = error.sqlstate or ""
            if not outcome.startswith(REFUSALS):
                raise
            await self._put_off(task, outcome)
        self._metrics.looks.labels(outcome).inc()

    async def _put_off(self, task: _Task, failure: str) -> None:
        await self._rows("select payments.put_off(%s, %s, %s)", task.user_id, task.purchase_id, failure)

    async def _ask_for(self, refund: _Refund, task: _Task) -> None:
        if not refund.payment_intent_id:
            return
        made, failure = None, None
        try:
            made = await self._provider.refund(refund.id, refund.payment_intent_id, refund.amount, refund.reason)
        except RefundRefusedError as error:
            failure = error.code
        await self._rows(
            "select payments.note_refund(%s, %s, %s, %s)", task.user_id, refund.id, made, failure
        )  # fmt: skip
        self._metrics.refunds.labels("refused" if failure else "made").inc()

    async def _look(self, task: _Task) -> Snapshot:
        session_id = task.session_id
        if session_id is None and task.customer_id:
            session_id = await self._provider.find_session(task.customer_id, str(task.purchase_id))
        if session_id:
            return await self._provider.look(session_id, str(task.purchase_id))
        return Snapshot(session_status="expired" if task.created_at < datetime.now(UTC) - PAGES_LAST else "open")

    async def _rows(self, statement: str, *arguments: object) -> Sequence[dict[str, Any]]:
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement.encode(), arguments)
            return await cursor.fetchall()
