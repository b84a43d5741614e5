"""Backups of the database by pgBackRest, and the proof of each: it is restored, started and checked.

pgBackRest's own configuration (postgres/pgbackrest.conf, or an operator's) and PGBACKREST_* variables say
where the repository is and how it is written. This module adds the server to back up and the passphrase,
and it deletes an older backup only after a newer one has passed its checks. A backup that has passed has
the annotation `checked` in the repository.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway.database import pins
from gateway.operate import ledger_marks
from gateway.operate.connecting import connect_async, connecting
from gateway.operate.ledger_marks import Marks
from gateway.operate.migrate import Report
from gateway.operate.postgres_processes import Account, account_for, end_left_over, last_error, place, shut_down
from gateway.operate.postgres_programs import binaries_for
from gateway.problems import OperatorError
from gateway.settings.maintenance import Maintenance

STANZA = "mana"  # pgBackRest's name for the server and its backups
CHECKED = "checked"
MARKS = "marks"
ROOM: LiteralString = "set work_mem = '64MB'"  # for verify_ledger, which sorts all rows
LOCKED = 50  # pgBackRest's exit code when another one is running

# Errors go to standard error, without decoration. These are variables and not options, because a restore
# copies its options into the restored server's restore_command.
_QUIET = {
    "PGBACKREST_LOG_LEVEL_CONSOLE": "off",
    "PGBACKREST_LOG_LEVEL_STDERR": "error",
    "PGBACKREST_LOG_TIMESTAMP": "n",
}

# A server that nobody else can reach, whatever its own files configure.
_PRIVATE = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "external_pid_file": "",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "hot_standby": "off",  # otherwise recovery needs as much shared memory as the original server had
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "jit": "off",
}
# A scratch copy need not survive a crash, and must not archive anything.
_SCRATCH = {"archive_mode": "off", "fsync": "off", "full_page_writes": "off"}
# A copy that stays keeps its WAL until the real server archives it.
KEPT = {"archive_mode": "on", "archive_command": "", "archive_library": ""}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup in the repository; sizes in bytes, of the database and of what is stored."""

    label: str
    started: datetime
    finished: datetime
    size: int
    stored: int
    damaged: bool  # pages whose checksum was wrong
    checked: datetime | None  # when it passed its checks
    marks: Marks | None  # of the ledger when it began; nothing in it may be below

    def __str__(self) -> str:
        return f"{self.label}: {gigabytes(self.size)}, {gigabytes(self.stored)} in the repository"


@dataclass(frozen=True, slots=True)
class Proof:
    """How long, in seconds, a backup took to restore, to recover, and to check."""

    restore: float
    recovery: float
    pages: float
    ledger: float


@dataclass(frozen=True, slots=True)
class Server:
    """The server to back up, as seen from its own machine."""

    data: Path
    socket: str
    port: int
    user: str
    database: str
    environment: Mapping[str, str] = field(repr=False)  # libpq's, for pgBackRest: the password, and what it sets first

    @classmethod
    async def at(cls, url: str) -> Self:
        """The server of an administrator's URL. Raises OperatorError."""
        async with await connect_async(url) as connection:
            cursor = await connection.execute(
                "select current_setting('data_directory'), current_setting('unix_socket_directories'),"
                " current_setting('archive_mode'), current_setting('port')::int"
            )
            data, sockets, archives, port = await cursor.fetchone() or ("", "", "", 0)
            info = connection.info
            environment = {"PGOPTIONS": await _options(connection), "PGPASSWORD": info.password}
            directories = [name.strip() for name in sockets.split(",") if name.strip().startswith("/")]
            if archives == "off":
                raise OperatorError(
                    "the server does not archive its WAL, and a backup needs that",
                    hint="set archive_mode and archive_command as in postgres/production.conf",
                )
            if not directories:
                raise OperatorError("the server has no Unix socket", hint="set unix_socket_directories")
            return cls(Path(data), directories[0], port, info.user, info.dbname, environment)

    def options(self) -> list[str]:
        """pgBackRest's options."""
        return [
            f"--pg1-path={self.data}",
            f"--pg1-socket-path={self.socket}",
            f"--pg1-port={self.port}",
            f"--pg1-user={self.user}",
            f"--pg1-database={self.database}",
        ]


@dataclass(frozen=True, slots=True)
class PgBackRest:
    """The program, run as an account, with the passphrase in its environment."""

    account: Account
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def on(cls, data: Path | None, passphrase: str) -> Self:
        """pgBackRest as the account that owns this data, or that runs PostgreSQL here."""
        given = {name: value for name, value in os.environ.items() if name.startswith("PGBACKREST_")}
        if passphrase:
            given["PGBACKREST_REPO1_CIPHER_TYPE"] = "aes-256-cbc"
            given["PGBACKREST_REPO1_CIPHER_PASS"] = passphrase
        return cls(account_for(data), {**given, **_QUIET})

    async def __call__(self, command: str, *options: str, server: Server | None = None) -> str:
        """Run a command, on a server if need be; returns its standard output. Raises OperatorError with its message."""
        environment = {**self.environment, **(server.environment if server else {})}
        options = (*(server.options() if server else ()), *options)
        line = ["pgbackrest", f"--stanza={STANZA}", *options, command]
        try:
            code, output, errors = await _run(self.account, line, environment)
        except FileNotFoundError:
            raise OperatorError(
                "pgBackRest is not installed", hint="apt-get install pgbackrest (https://pgbackrest.org)"
            ) from None
        if code != 0:
            raise _failure(command, code, errors)
        return output

    async def backups(self) -> list[Backup]:
        """What is in the repository, oldest first."""
        # Not strict: the output quotes raw bytes of a file that pgBackRest cannot decipher.
        stanzas = json.loads(await self("info", "--output=json"), strict=False)
        stanza = stanzas[0] if stanzas else {"backup": []}
        broken = [repository["status"] for repository in stanza.get("repo", ()) if repository["status"]["code"] == 99]
        if broken:
            raise _failure("info", 99, broken[0]["message"])
        return [
            Backup(
                label=found["label"],
                started=_time(found["timestamp"]["start"]),
                finished=_time(found["timestamp"]["stop"]),
                size=found["info"]["size"],
                stored=found["info"]["repository"]["delta"],
                damaged=bool(found.get("error")),
                checked=_noted(found.get("annotation") or {}),
                marks=_marks(found.get("annotation") or {}),
            )
            for found in stanza["backup"]
        ]


# ---------------------------------------------------------------- backup


async def back_up(url: str, settings: Maintenance, report: Report) -> tuple[Backup, Proof]:
    """Take a backup, prove it, and delete old ones. Raises OperatorError."""
    with exclusive(settings.data_dir) as scratch:
        taken = await take(url, settings, report)
        proof = await prove(url, settings.passphrase, taken, scratch, report)
        await keep(settings.passphrase, taken, settings.keep)
    return taken, proof


async def take(url: str, settings: Maintenance, report: Report) -> Backup:
    """Take a full backup. Raises OperatorError."""
    server = await Server.at(url)
    pgbackrest = PgBackRest.on(server.data, settings.passphrase)
    began = time.monotonic()
    # Does nothing when the stanza exists.
    await pgbackrest("stanza-create", server=server)
    marks = await _marks_now(url, settings.data_dir, await pgbackrest.backups())
    # keep() applies the retention later.
    options = ["--type=full", "--no-expire-auto", f"--annotation={MARKS}={marks}"]
    await pgbackrest("backup", *options, server=server)
    taken = (await pgbackrest.backups())[-1]
    report(f"backup {taken}, in {_seconds(began)}")
    return taken


async def _marks_now(url: str, data_dir: Path, earlier: Sequence[Backup]) -> Marks:
    """What a backup that begins now must reach: the ledger's marks, or those that were kept and are higher."""
    async with await connect_async(url) as connection:
        file = await ledger_marks.file_of(connection, data_dir)
        kept = ledger_marks.load(file) or newest_marks(earlier)
        found = await ledger_marks.read(connection, kept)
    if kept and found.fallen:
        return kept.raised(found.marks)
    ledger_marks.keep(file, found.marks)
    return found.marks


def newest_marks(backups: Sequence[Backup]) -> Marks | None:
    """What the newest backup with marks began with, for the day when the file of the marks is gone."""
    return next((b.marks for b in reversed(backups) if b.marks), None)


async def prove(url: str, passphrase: str, backup: Backup, scratch: Path, report: Report) -> Proof:
    """Restore a backup into a directory, which is emptied first, start a server there and check it.

    Raises OperatorError with what is wrong with the backup.
    """
    if backup.damaged:
        raise OperatorError(f"backup {backup.label}: pages have a wrong checksum", hint="the server's disk is failing")
    data = scratch / "data"
    pgbackrest = PgBackRest.on(data, passphrase)
    end_left_over(data, report)
    shutil.rmtree(data, ignore_errors=True)
    try:
        began = time.monotonic()
        _make(data, pgbackrest.account)
        await pgbackrest("restore", f"--pg1-path={data}", f"--set={backup.label}")
        restored = time.monotonic() - began
        report(f"restored in {restored:.1f} s")
        return await check(pgbackrest, data, url, report, restored=restored, marks=backup.marks)
    except OperatorError as error:
        raise OperatorError(f"backup {backup.label} did not pass: {error}", hint=error.hint) from error
    except psycopg.Error as error:
        reason = error.diag.message_primary or type(error).__name__
        raise OperatorError(f"backup {backup.label} did not pass: the database says: {reason}") from error
    finally:
        shutil.rmtree(data, ignore_errors=True)


async def keep(passphrase: str, backup: Backup, count: int) -> None:
    """Annotate a backup as checked, and delete all but the newest ``count``."""
    pgbackrest = PgBackRest.on(None, passphrase)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    await pgbackrest("annotate", f"--set={backup.label}", f"--annotation={CHECKED}={now}")
    await pgbackrest("expire", f"--repo1-retention-full={count}")


async def listed(passphrase: str) -> list[Backup]:
    """What is in the repository, oldest first. Raises OperatorError."""
    return await PgBackRest.on(None, passphrase).backups()


@contextmanager
def exclusive(data_dir: Path) -> Iterator[Path]:
    """The directory for scratch servers, locked. Raises OperatorError when another backup has the lock."""
    directory = place(data_dir / "scratch")
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _running() from None
        yield directory


# ---------------------------------------------------------------- restore


async def restore(
    directory: Path, passphrase: str, to: datetime | None, report: Report, *, check_as: str | None = None
) -> None:
    """Restore the latest state of the database, or its state at a moment, into an empty directory.

    Uses the newest suitable backup. When that fails, the directory is empty again. A server that starts on
    the directory first reads the WAL from the archive. With ``check_as``, an administrator's URL, one is
    started and checked here. Raises OperatorError.
    """
    if _contents(directory):
        raise OperatorError(f"{directory} is not empty", hint="restore into another directory, or move this one away")
    pgbackrest = PgBackRest.on(directory, passphrase)
    chosen = _choose(await pgbackrest.backups(), to)
    options = [f"--pg1-path={directory}", f"--set={chosen.label}"]
    if configuration := os.environ.get("PGBACKREST_CONFIG"):
        options.append(f"--config={configuration}")  # for the server as well
    if to:
        target = to.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        options += ["--type=time", f"--target={target}", "--target-action=promote"]
    began = time.monotonic()
    _make(directory, pgbackrest.account)
    try:
        await pgbackrest("restore", *options)
    except BaseException:
        for path in _contents(directory):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        raise
    report(f"restored {chosen.label} in {_seconds(began)}")
    if check_as:
        await check(pgbackrest, directory, check_as, report, kept=True, marks=chosen.marks)


def _choose(backups: Sequence[Backup], to: datetime | None) -> Backup:
    if to and to > datetime.now(UTC):
        raise OperatorError(f"{to.isoformat(sep=' ')} is in the future")
    if not backups:
        raise OperatorError("there is no backup in the repository", hint="take one with `mana backup`")
    # One second more, because pgBackRest rounds the end of a backup to seconds.
    good = [b for b in backups if not b.damaged and (to is None or b.finished + timedelta(seconds=1) <= to)]
    if not good:
        first = backups[0].finished.isoformat(sep=" ")
        raise OperatorError(f"the first backup ended at {first}; no earlier moment can be restored")
    return max(good, key=lambda b: (b.checked is not None, b.finished))


# ---------------------------------------------------------------- check


async def check(
    pgbackrest: PgBackRest,
    data: Path,
    url: str,
    report: Report,
    *,
    restored: float = 0.0,
    kept: bool = False,
    marks: Marks | None = None,
) -> Proof:
    """Start a private server on restored data and check every page, every index and the ledger.

    ``url`` gives the names of the database and of its administrator, ``marks`` what the ledger must reach.
    Raises OperatorError with what is wrong.
    """
    began = time.monotonic()
    async with started(pgbackrest, data, url, KEPT if kept else _SCRATCH) as own_url:
        recovery = time.monotonic() - began
        report(f"recovered in {recovery:.1f} s")
        began = time.monotonic()
        await _check_pages(pgbackrest.account, data, own_url)
        pages = time.monotonic() - began
        report(f"pages and indexes are sound (pg_amcheck, {pages:.1f} s)")
        began = time.monotonic()
        await _check_ledger(own_url, marks)
        ledger = time.monotonic() - began
        report(f"the ledger is sound ({ledger:.1f} s)")
    return Proof(restored, recovery, pages, ledger)


async def _check_pages(account: Account, data: Path, url: str) -> None:
    async with await connect_async(url) as connection:
        cursor = await connection.execute("select from pg_extension where extname = 'amcheck'")
        installed = await cursor.fetchone() is not None
        pinned = make_conninfo(url, options=await _options(connection))
    try:
        command = [str(binaries_for(data) / "pg_amcheck"), "--install-missing", "--heapallindexed", "--jobs=2", pinned]
        code, output, errors = await _run(account, command, {})
    finally:
        if not installed:
            async with await connect_async(url) as connection:
                await connection.execute("drop extension if exists amcheck")
    if code != 0:
        lines = (output or errors).strip().splitlines()
        raise OperatorError(f"pg_amcheck: {' '.join(line.strip() for line in lines[:3])}")


async def _check_ledger(url: str, marks: Marks | None) -> None:
    async with await connect_async(url) as connection:
        await connection.execute(ROOM)
        rows = await (await connection.execute("select problem, user_id from credits.verify_ledger()")).fetchall()
        found = await ledger_marks.read(connection, marks)
    if rows:
        problem, user_id = rows[0]
        more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
        raise OperatorError(f"the ledger is not sound: {problem} of user {user_id}{more}")
    if found.fallen:
        raise OperatorError(
            f"the ledger has lost something: {'; '.join(found.fallen)}",
            hint="after a restore to an earlier moment, `mana ledger verify --accept` keeps new marks",
        )


@asynccontextmanager
async def started(pgbackrest: PgBackRest, data: Path, url: str, settings: Mapping[str, str]) -> AsyncIterator[str]:
    """Start a server on restored data that only this account can reach; yields its URL after recovery."""
    with connecting():
        named = conninfo_to_dict(url)
    # Under /tmp, because a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="mana-"))
    try:
        for name, content in (("empty.conf", ""), ("hba.conf", "local all all trust\n"), ("log", "")):
            (home / name).write_text(content)
        pgbackrest.account.own(home)
        options = {
            **_PRIVATE,
            **settings,
            "config_file": str(home / "empty.conf"),
            "hba_file": str(home / "hba.conf"),
            "unix_socket_directories": str(home),
        }
        command = [str(binaries_for(data) / "postgres"), "-D", str(data)]
        command += [f"--{name}={value}" for name, value in options.items()]
        with (home / "log").open("ab") as log:
            process = pgbackrest.account.start(command, log, pgbackrest.environment)
        own_url = make_conninfo(
            host=str(home), port=5432, user=named.get("user") or "postgres", dbname=named.get("dbname") or "mana"
        )
        try:
            await _recovered(process, own_url, home / "log")
            yield own_url
        finally:
            shut_down(process.pid, gone=lambda: process.poll() is not None)
    finally:
        shutil.rmtree(home)


async def _recovered(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until the server accepts connections. There is no limit: replaying a day of WAL may take long."""
    while process.poll() is None:
        try:
            await (await psycopg.AsyncConnection.connect(pins.conninfo(url))).close()
        except psycopg.OperationalError:
            await asyncio.sleep(0.05)
        else:
            return
    reason = last_error(log)
    hint = None
    if "recovery ended before configured recovery target" in reason:
        hint = "the archive ends before that moment; without --to, everything in the archive is restored"
    raise OperatorError(f"the restored server does not start: {reason}", hint=hint)


# ---------------------------------------------------------------- below


def gigabytes(size: int) -> str:
    """A number of bytes, as people read it."""
    return f"{size / 2**30:.2f} GB" if size >= 2**30 else f"{size / 2**20:.1f} MB"


async def _options(connection: psycopg.AsyncConnection[Any]) -> str:
    """What another program sets when it connects as this connection's role."""
    cursor = await connection.execute(*pins.for_programs())
    return pins.options(await cursor.fetchall())


async def _run(account: Account, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command; returns exit code, standard output and standard error. Cancelling it stops the command."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must reach only us
        **account.options(environment),
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


def _failure(command: str, code: int, said: str) -> OperatorError:
    if code == LOCKED:
        return _running()
    if "unable to load info file" in said and "FileMissingError" not in said:
        return OperatorError("the repository was not made with this BACKUP_PASSPHRASE, or its files are damaged")
    message = re.search(r"ERROR: \[\d+\]: (.+)", said)
    hints = re.findall(r"HINT: (.+)", said)
    lines = [message[1]] if message else said.strip().splitlines()[:1]
    return OperatorError(f"pgbackrest {command}: {''.join(lines) or code}", hint="; ".join(hints) or None)


def _running() -> OperatorError:
    return OperatorError("another backup is running", hint="try again when it is done")


def _contents(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.exists() else []


def _make(directory: Path, account: Account) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    account.own(directory)


def _noted(annotations: Mapping[str, str]) -> datetime | None:
    return datetime.fromisoformat(annotations[CHECKED]) if CHECKED in annotations else None


def _marks(annotations: Mapping[str, str]) -> Marks | None:
    return Marks.parse(annotations[MARKS]) if MARKS in annotations else None


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
