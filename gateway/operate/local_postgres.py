"""A private PostgreSQL server in a directory: the one of ``mana run``, and those of the tests.

It listens on 127.0.0.1 only, and every connection needs a password that only the directory's owner
can read. Its processes live as long as the process that started them. If that process was killed, the
next start stops what it left behind.

    DIRECTORY/password            the administrator's password
    DIRECTORY/gateway_password    the password of role mana_gateway
    DIRECTORY/port                the last port, used again when it is free
    DIRECTORY/server.log
    DIRECTORY/cluster/            data/, postgresql.conf and the lock; a link to /var/lib/mana-core-auth
                                  where the account that runs the server cannot reach DIRECTORY
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from gateway import private_files
from gateway.database.pins import conninfo
from gateway.operate import migrate
from gateway.operate.connecting import connect
from gateway.operate.migrate import Report
from gateway.operate.postgres_processes import (
    UNREACHABLE_DATA,
    Account,
    account_for,
    end_left_over,
    last_error,
    place,
    running_postmaster,
    shut_down,
)
from gateway.operate.postgres_programs import binaries_for, find_binaries, version_of
from gateway.problems import OperatorError

START_SECONDS = 120.0  # recovery after a crash takes its time
START_ATTEMPTS = 5

PRIVATE = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "log_destination": "stderr"}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_PACKAGED = Path(__file__).parents[1] / "_postgres"
CONFIGURATION = (_PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "postgres") / "mana.conf"


def read_url(directory: Path, database: str = "mana") -> str:
    """The administrator's URL of the server that runs in a directory.

    Raises OperatorError when no server runs there, or when it belongs to another user.
    """
    try:
        password = (directory / "password").read_text()
        running = running_postmaster((directory / "cluster").resolve() / "data")
    except FileNotFoundError:
        raise OperatorError(f"there is no database in {directory}", hint="make run creates it") from None
    except PermissionError:
        raise _foreign(directory) from None
    if running is None:
        raise OperatorError(f"the database in {directory} is not running", hint="make run starts it")
    return _url("postgres", password, running.port, database)


class LocalPostgres:
    """One server, from start to stop. ``settings`` are PostgreSQL's own and override all others."""

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        database: str = "mana",
    ) -> None:
        self.directory = directory.absolute()
        self.database = database
        self._settings = {**PRIVATE, **({} if durable else NOT_DURABLE), **(settings or {})}
        self._durable = durable
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.start(lambda _: None)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The administrator's URL, with its password, while the server runs."""
        return self._url_of("postgres", self.database)

    def gateway_url(self) -> str:
        """The gateway's URL. Sets the password of the role, which must exist already."""
        return migrate.gateway_url(self.url, self.directory / "gateway_password")

    def start(self, report: Report) -> None:
        """Create what is missing, start the server and wait until it answers.

        Raises OperatorError when another process uses the directory, and when no server can be installed.
        """
        binaries = find_binaries(install=True, report=report)
        try:
            cluster = self._open_cluster()
            data = cluster / "data"
            end_left_over(data, report)
            account = account_for(data)
            if data.is_dir():
                binaries = binaries_for(data)
            else:
                report(f"creating a PostgreSQL {version_of(binaries)} database in {cluster}")
                self._create(cluster, binaries, account)
            self._run(cluster, binaries, account)
            self._create_database()
        except PermissionError:
            self.stop()
            raise _foreign(self.directory) from None
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the server down and wait for its end. Safe at any time, and to repeat."""
        if (process := self._process) is not None:
            shut_down(process.pid, gone=lambda: process.poll() is not None)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Stop the server and delete the directory with all its data."""
        self.stop()
        cluster = (self.directory / "cluster").resolve()
        shutil.rmtree(cluster, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        if cluster.parent == UNREACHABLE_DATA:
            with contextlib.suppress(OSError):
                cluster.parent.rmdir()

    def _url_of(self, user: str, database: str) -> str:
        if self._process is None:
            raise OperatorError(f"the database in {self.directory} is not running")
        return _url(user, private_files.secret(self.directory / "password"), self._port, database)

    def _own_url(self) -> str:
        """One that no variable of libpq can add to."""
        return conninfo(self._url_of("postgres", "postgres"), sslmode="disable", gssencmode="disable")

    def _open_cluster(self) -> Path:
        """The directory of the server's own files, locked against other processes."""
        cluster = place(self.directory)
        # Child processes do not inherit Python's files, so the lock ends with this process.
        self._lock = (cluster / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError(
                f"the database in {self.directory} is already running",
                hint="stop the other `make run`, or give this one its own DATA_DIR",
            ) from None
        return cluster

    def _create(self, cluster: Path, binaries: Path, account: Account) -> None:
        # It gets its name when it is complete, so that an interrupted initdb leaves no database.
        try:
            pwd.getpwuid(os.geteuid() if account.uid is None else account.uid)
        except KeyError:
            raise OperatorError(
                f"PostgreSQL cannot create a database as user {os.geteuid()}, who has no name in /etc/passwd",
                hint="give the user an entry there, or set DATABASE_URL to a server elsewhere",
            ) from None
        unfinished = cluster / "data.new"
        password_file = cluster / "initdb.password"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        try:
            private_files.replace(password_file, private_files.secret(self.directory / "password"))
            account.own(password_file)
            command = [str(binaries / "initdb"), "--pgdata", str(unfinished), "--username", "postgres"]
            command += ["--pwfile", str(password_file), "--auth", "scram-sha-256"]
            command += ["--encoding", "UTF8", "--locale", _locale(), "--no-instructions"]
            command += [] if self._durable else ["--no-sync"]
            finished = account.run(command)
        finally:
            password_file.unlink(missing_ok=True)
        if finished.returncode != 0:
            raise OperatorError(f"initdb failed: {finished.stderr.strip()}")
        unfinished.rename(cluster / "data")

    def _run(self, cluster: Path, binaries: Path, account: Account) -> None:
        """Start the server; try again with another port when somebody took this one first."""
        deadline = time.monotonic() + START_SECONDS
        for attempt in range(1, START_ATTEMPTS + 1):
            self._port = _free_port(self.directory / "port")
            (cluster / "postgresql.conf").write_text(self._configuration(cluster / "data"))
            (cluster / "postgresql.conf").chmod(0o644)
            log = self.directory / "server.log"
            log.touch(mode=0o600)
            before = log.stat().st_size
            with log.open("ab") as output:
                command = [str(binaries / "postgres"), "-D", str(cluster / "data")]
                command += ["-c", f"config_file={cluster / 'postgresql.conf'}"]
                self._process = account.start(command, output)
            if self._answers(deadline):
                (self.directory / "port").write_text(str(self._port))
                return
            self._process = None
            if attempt < START_ATTEMPTS:
                # The processes of a killed server also need this time to notice its end.
                time.sleep(0.2 * attempt)
        raise OperatorError(f"PostgreSQL did not start: {last_error(log, before)}", hint=f"its log is {log}")

    def _configuration(self, data: Path) -> str:
        settings = {"port": str(self._port), **self._settings}
        lines = [
            f"include {_quoted(str(data / 'postgresql.conf'))}",
            CONFIGURATION.read_text(),
            *(f"{name} = {_quoted(value)}" for name, value in settings.items()),
        ]
        return "\n".join(lines) + "\n"

    def _answers(self, deadline: float) -> bool:
        """Wait for the first answer; returns False when the server has ended instead."""
        assert self._process is not None  # noqa: S101
        while self._process.poll() is None:
            try:
                psycopg.connect(self._own_url(), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise OperatorError(f"PostgreSQL does not answer: {error}") from error
                time.sleep(0.05)
            else:
                return True
        return False

    def _create_database(self) -> None:
        with connect(self._own_url()) as connection:
            found = connection.execute("select from pg_database where datname = %s", (self.database,))
            if found.fetchone() is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(self.database)))


def _url(user: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/{quote(database, safe='')}"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _foreign(directory: Path) -> OperatorError:
    return OperatorError(
        f"the database in {directory} belongs to another user", hint="run this as that user or as root"
    )


def _free_port(remembered: Path) -> int:
    preferred = int(remembered.read_text()) if remembered.exists() else 0
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OperatorError("no port is free on 127.0.0.1")


def _locale() -> str:
    try:
        listed = subprocess.run(["locale", "-a"], check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return "C"
    return "C.UTF-8" if re.search(r"^C\.utf-?8$", listed, re.IGNORECASE | re.MULTILINE) else "C"
