"""``mana maintain``: backups and checks of the books on a schedule, with metrics for Prometheus.

A backup is due BACKUP_EVERY after the last one in the repository, even if that one was taken by hand or
before a restart. A failure is counted, logged and tried again.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from gateway import logs
from gateway.operate import backup, ledger_marks
from gateway.operate.connecting import connect_async
from gateway.problems import OperatorError
from gateway.settings.maintenance import Maintenance

RETRY = timedelta(minutes=5)  # after an attempt that failed, unless the next one is due before
LOOK_AGAIN = timedelta(hours=1)  # at the latest: somebody may set the clock or take a backup by hand
# Between two empty transactions. Recovery stops at a commit, so without them no moment of a quiet time could
# be restored. They also make the lag of the archive visible.
HEARTBEAT = 30.0  # seconds


class Metrics:
    """The metrics of `mana maintain`. Times are seconds since 1970; 0 means never."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.last = self._gauge("mana_backup_last_success_timestamp_seconds", "When the last backup was complete")
        self.seconds = self._gauge("mana_backup_last_duration_seconds", "How long it took")
        self.size = self._gauge("mana_backup_size_bytes", "What it takes in the repository")
        self.checked = self._gauge(
            "mana_backup_check_last_success_timestamp_seconds", "When a backup was last restored, and was good"
        )
        self.failures = Counter(
            "mana_backup_failures", "Backups that failed, or did not pass their check", registry=self.registry
        )
        self.discrepancies = self._gauge(
            "mana_ledger_discrepancies", "Rows of credits.check_ledger(), and marks that fell; none is sound"
        )
        self.ledger_checked = self._gauge("mana_ledger_last_check_timestamp_seconds", "When they were counted")
        self.ledger_full = self._gauge(
            "mana_ledger_last_full_check_timestamp_seconds", "When the whole ledger was last sound"
        )
        self.ledger_seconds = self._gauge("mana_ledger_check_seconds", "How long that took")
        self.accounts = Gauge(
            "mana_ledger_account_total", "Credits on an account, at the start and at each full check", ["account"],
            registry=self.registry,
        )  # fmt: skip
        self.log_lines_lost = Counter(
            "mana_log_lines_lost", "Lines of the log that could not be written", registry=self.registry
        )
        self.disk_free = Gauge(
            "mana_disk_free_ratio", "Free part of the disk, of 1", ["directory"], registry=self.registry
        )

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, registry=self.registry)

    def show(self, backups: list[backup.Backup]) -> None:
        """Set the metrics of backups from the repository."""
        if backups:
            newest = backups[-1]
            self.last.set(newest.finished.timestamp())
            self.seconds.set((newest.finished - newest.started).total_seconds())
            self.size.set(newest.stored)
        self.checked.set(max((b.checked.timestamp() for b in backups if b.checked), default=0))


async def maintain(url: str, settings: Maintenance) -> None:
    """Run until cancelled. Raises OSError when the port for the metrics is taken."""
    metrics = Metrics()
    log = structlog.get_logger()
    server, _ = start_http_server(settings.port, settings.host, metrics.registry)
    log.info("maintaining", port=server.server_port)
    async with asyncio.TaskGroup() as group:
        group.create_task(_back_up(url, settings, metrics))
        group.create_task(_verify_ledger(url, settings, metrics))
        group.create_task(_beat(url, settings, metrics))


async def _back_up(url: str, settings: Maintenance, metrics: Metrics) -> None:
    log = structlog.get_logger()
    while True:
        try:
            due = await _back_up_when_due(url, settings, metrics)
        except (OperatorError, psycopg.Error, OSError) as error:
            metrics.failures.inc()
            log.warning("backup_failed", error=_named(error))
            due = datetime.now(UTC) + min(RETRY, settings.backup_every)
        wait = min(due - datetime.now(UTC), LOOK_AGAIN)
        await asyncio.sleep(max(wait.total_seconds(), 0))


async def _back_up_when_due(url: str, settings: Maintenance, metrics: Metrics) -> datetime:
    """Take a backup if one is due and check the newest if it is not checked; returns when the next is due."""
    log = structlog.get_logger()
    backups = await backup.listed(settings.passphrase)
    metrics.show(backups)
    with backup.exclusive(settings.data_dir) as scratch:
        if not backups or backups[-1].finished + settings.backup_every <= datetime.now(UTC):
            newest = await backup.take(url, settings, log.info)
            metrics.show([*backups, newest])
        else:
            newest = backups[-1]
        if not newest.checked:
            await backup.prove(url, settings.passphrase, newest, scratch, log.info)
            await backup.keep(settings.passphrase, newest, settings.keep)
            metrics.show(await backup.listed(settings.passphrase))
    return newest.finished + settings.backup_every


async def _verify_ledger(url: str, settings: Maintenance, metrics: Metrics) -> None:
    log = structlog.get_logger()
    first = True
    while True:
        began = time.monotonic()
        try:
            checked = await check_ledger(url, settings, with_totals=first)
        except (OperatorError, psycopg.Error, OSError) as error:
            log.warning("ledger_check_failed", error=_named(error))
            wait = min(RETRY, settings.ledger_every)
        else:
            metrics.discrepancies.set(checked.discrepancies)
            metrics.ledger_seconds.set(time.monotonic() - began)
            metrics.ledger_checked.set_to_current_time()
            metrics.ledger_full.set(checked.sound.timestamp() if checked.sound else 0)
            first = False
            for account, total in checked.totals:
                metrics.accounts.labels(account).set(total)
            (log.error if checked.discrepancies else log.info)(
                "ledger_checked", discrepancies=checked.discrepancies, full=checked.full, below_the_marks=checked.fallen
            )
            wait = settings.ledger_every
        await asyncio.sleep(wait.total_seconds())


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the ledger found."""

    discrepancies: int
    fallen: tuple[str, ...]
    full: bool
    sound: datetime | None  # when a full check was last sound
    totals: list[tuple[str, int]]  # of the accounts; empty when they were not read


async def check_ledger(url: str, settings: Maintenance, with_totals: bool = False) -> Checked:
    """Check what is new, or everything when that is due: after LEDGER_FULL_EVERY, and until one was sound.

    The totals of the accounts take reading all entries: a full check reads them, and another one when asked.
    """
    async with await connect_async(url) as connection:
        file = await ledger_marks.file_of(connection, settings.data_dir)
        kept = ledger_marks.load(file) or await _marks_of_backups(settings)
        sound = kept.full if kept else None
        full = sound is None or sound + settings.ledger_full_every <= datetime.now(UTC)
        await connection.execute(backup.ROOM)
        cursor = await connection.execute("select count(*) from credits.check_ledger(p_full => %s)", (full,))
        (rows,) = await cursor.fetchone() or (0,)
        found = await ledger_marks.read(connection, kept)
        totals = []
        if full or with_totals:
            cursor = await connection.execute("select account, total from credits.account_totals")
            totals = await cursor.fetchall()
    if rows:
        sound = None  # what an incremental check does not see again must not be forgotten
    elif full:
        sound = ledger_marks.now()
    marks = kept if rows or found.fallen else found.marks  # they do not move while something is wrong
    if marks:
        ledger_marks.keep(file, replace(marks, full=sound))
    return Checked(rows + len(found.fallen), found.fallen, full, sound, totals)


async def _marks_of_backups(settings: Maintenance) -> ledger_marks.Marks | None:
    try:
        return backup.newest_marks(await backup.listed(settings.passphrase))
    except OperatorError:
        return None  # _back_up logs and counts it


async def _beat(url: str, settings: Maintenance, metrics: Metrics) -> None:
    while True:
        metrics.log_lines_lost.inc(logs.take_lost())
        try:
            async with await connect_async(url) as connection:
                await connection.execute("select pg_logical_emit_message(true, 'mana', 'heartbeat')")
                cursor = await connection.execute("select current_setting('data_directory')")
                (data,) = await cursor.fetchone() or ("",)
            for directory in (settings.data_dir, data):
                disk = shutil.disk_usage(directory)
                metrics.disk_free.labels(str(directory)).set(disk.free / disk.total)
        except (OperatorError, psycopg.Error, OSError) as error:
            structlog.get_logger().warning("heartbeat_failed", error=_named(error))
        await asyncio.sleep(HEARTBEAT)


def _named(error: Exception) -> str:
    """The text to log: our own messages contain no secrets, those of libraries may."""
    return str(error) if isinstance(error, OperatorError) else type(error).__name__
