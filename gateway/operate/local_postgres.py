"""A private PostgreSQL server in a directory: the one of ``mana run``, and those of the tests.

It listens on 127.0.0.1 alone, and every connection needs a password that only the directory's
owner can read. Its processes live as long as the one that started them; what a killed one left
behind is stopped by the next start.

    DIRECTORY/password            the administrator's
    DIRECTORY/gateway_password    that of the role mana_gateway
    DIRECTORY/port                the last one, taken again when it is free
    DIRECTORY/server.log
    DIRECTORY/cluster/            data/, postgresql.conf and the lock; a link to /var/lib/mana-core-auth
                                  where the account that runs the server cannot get below DIRECTORY
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import psycopg
from psycopg import sql

from gateway import private_files
from gateway.operate import migrate
from gateway.operate.migrate import Report
from gateway.problems import OperatorError

OLDEST_VERSION = 15
UNREACHABLE_DATA = Path("/var/lib/mana-core-auth")
START_SECONDS = 120.0  # recovery after a crash takes its time
START_ATTEMPTS = 5

# What to send to a server, and how long to wait before the next: fast, immediate, and the end.
SHUTDOWN = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

PRIVATE = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "log_destination": "stderr"}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_PACKAGED = Path(__file__).parents[1] / "_postgres"
CONFIGURATION = (_PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "postgres") / "mana.conf"

# Debian starts a server of its own with the package unless it is told otherwise.
APT = """
set -e
export DEBIAN_FRONTEND=noninteractive
quiet=/etc/postgresql-common/createcluster.d/mana-core-auth.conf
trap 'rm -f $quiet' EXIT
trap 'exit 130' INT TERM
mkdir -p "$(dirname $quiet)"
echo 'create_main_cluster = false' > $quiet
apt-get update
apt-get install --yes --no-install-recommends postgresql
"""
INSTALLERS = {
    "apt-get": ["sh", "-c", APT],
    "dnf": ["dnf", "install", "--assumeyes", "postgresql-server"],
    "apk": ["apk", "add", "postgresql", "postgresql-contrib"],
    "brew": ["brew", "install", "postgresql@17"],
}


def find_binaries(install: bool = False, report: Report = lambda _: None) -> Path:
    """The directory of the newest server of version 15 or later; ``install`` gets one where there is none.

    Raises OperatorError when there is none and none could be installed.
    """
    if not (found := _installed()):
        if install:
            _install(report)
            found = _installed()
        if not found:
            raise OperatorError(
                f"no PostgreSQL server of version {OLDEST_VERSION} or newer was found",
                hint="install one (https://www.postgresql.org/download/) or set DATABASE_URL",
            )
    return found[max(found)]


def read_url(directory: Path, database: str = "mana") -> str:
    """The administrator's URL of the server that runs in a directory.

    Raises OperatorError when there is none, or when it belongs to somebody else.
    """
    try:
        password = (directory / "password").read_text()
        running = _running_postmaster((directory / "cluster").resolve() / "data")
    except FileNotFoundError:
        raise OperatorError(f"there is no database in {directory}", hint="make run creates it") from None
    except PermissionError:
        raise _foreign(directory) from None
    if running is None:
        raise OperatorError(f"the database in {directory} is not running", hint="make run starts it")
    return _url("postgres", password, running.port, database)


class LocalPostgres:
    """One server, from start to stop. ``settings`` are PostgreSQL's own and have the last word."""

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
        """The gateway's URL. Gives the role its password, so it has to exist by then."""
        return migrate.gateway_url(self.url, self.directory / "gateway_password")

    def start(self, report: Report) -> None:
        """Create what is missing, start the server and wait until it answers.

        Raises OperatorError when another process has the directory, and when no server can be had.
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
                report(f"creating a PostgreSQL {_version(binaries)} database in {cluster}")
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
        """Shut the server down and wait for it. May be called at any time, also twice."""
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

    def _open_cluster(self) -> Path:
        """Where the server's own files are, locked against any other process."""
        cluster = place(self.directory)
        # Python's files are not inherited by what it executes: the lock ends with this process.
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
        # Under another name until it is whole, so that an interrupted one is no database.
        unfinished = cluster / "data.new"
        password_file = cluster / "initdb.password"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        try:
            private_files.write(password_file, private_files.secret(self.directory / "password"))
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
        """Start the server; again with another port when somebody was quicker to take it."""
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
                # Also what the processes of a killed server need to notice its end.
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
        """Wait for the first answer; False when the server has ended instead."""
        assert self._process is not None  # noqa: S101
        while self._process.poll() is None:
            try:
                psycopg.connect(self._url_of("postgres", "postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise OperatorError(f"PostgreSQL does not answer: {error}") from error
                time.sleep(0.05)
            else:
                return True
        return False

    def _create_database(self) -> None:
        with psycopg.connect(self._url_of("postgres", "postgres"), autocommit=True) as connection:
            found = connection.execute("select from pg_database where datname = %s", (self.database,))
            if found.fetchone() is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(self.database)))


@dataclass(frozen=True, slots=True)
class Account:
    """Who the server's processes run as: ourselves (None), or another user when we are root."""

    uid: int | None
    gid: int | None

    def own(self, path: Path) -> None:
        """Hand a file or directory over."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(command, check=False, capture_output=True, text=True, **self.options())

    def start(
        self, command: list[str], output: IO[bytes], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command in its own session: a Ctrl-C in the terminal does not reach it."""
        return subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, **self.options(environment)
        )

    def options(self, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """How subprocess starts a process of the account; ``environment`` is all that it has beside a path."""
        return {
            "stdin": subprocess.DEVNULL,
            "cwd": "/",
            # Nothing of ours: it holds secrets, and PG* variables that the server would obey.
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(environment or {})},
            "user": self.uid,
            "group": self.gid,
            "extra_groups": None if self.uid is None else [],
        }


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A server that runs: its first process and its port."""

    pid: int
    port: int


def account_for(data: Path | None) -> Account:
    """Who runs a server on this data: PostgreSQL refuses root, and data that is not its user's own."""
    if os.geteuid() != 0:
        return Account(None, None)
    if data and data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise OperatorError("PostgreSQL does not run as root and there is no user `postgres` or `nobody`")


def place(directory: Path) -> Path:
    """The cluster's directory, made on first use where the server's account can reach it."""
    cluster = directory / "cluster"
    if not cluster.exists():
        account = account_for(cluster.resolve() / "data")
        target = cluster.resolve()
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(0o711)
        if account.run(["test", "-x", str(target)]).returncode != 0:
            target.rmdir()
            target = UNREACHABLE_DATA / hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
            target.mkdir(parents=True, exist_ok=True)
            for made in (target.parent, target):
                made.chmod(0o711)
            with contextlib.suppress(FileExistsError):
                cluster.symlink_to(target)
    return cluster.resolve()


def _url(user: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"


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


def last_error(log: Path, offset: int = 0) -> str:
    """Why a server ended, as its log says from an offset in bytes on."""
    with log.open("rb") as file:
        file.seek(offset)
        written = file.read().decode(errors="replace").strip()
    # That it is starting up, or shutting down, is what those who tried to connect were told.
    errors = re.findall(r"(?:FATAL|PANIC): +(?!the database system)(.+)", written)
    return str((errors or written.splitlines() or ["it ended without a word"])[-1])


def _running_postmaster(data: Path) -> Postmaster | None:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        running = Postmaster(int(lines[0]), int(lines[3]))
    except (FileNotFoundError, IndexError, ValueError):
        return None
    # After a crash the number may be anybody's by now.
    return running if str(data) in _command_of(running.pid) else None


def _command_of(pid: int) -> str:
    """The command line of a process; nothing when there is none or it has ended."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listed = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return listed.stdout


def end_left_over(data: Path, report: Report) -> None:
    """Stop a server whose owner was killed. The lock is ours, so nobody uses it any more."""
    if running := _running_postmaster(data):
        report("stopping the PostgreSQL server that a killed run left behind")
        shut_down(running.pid, gone=lambda: _running_postmaster(data) is None)


def shut_down(pid: int, gone: Callable[[], bool]) -> None:
    """Shut a server down, more roughly with each deadline and with each further Ctrl-C."""
    for number, patience in SHUTDOWN:
        if gone():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        with contextlib.suppress(KeyboardInterrupt):
            while time.monotonic() < deadline:
                if gone():
                    return
                time.sleep(0.02)


def binaries_for(data: Path) -> Path:
    """The programs of the version that made the data. Raises OperatorError when they are not installed."""
    version = int((data / "PG_VERSION").read_text())
    found = _installed()
    if version not in found:
        here = ", ".join(str(other) for other in sorted(found))
        raise OperatorError(
            f"{data} was made by PostgreSQL {version}, but this machine has {here}",
            hint=f"install PostgreSQL {version}, or move the directory away to begin with an empty database",
        )
    return found[version]


def _installed() -> dict[int, Path]:
    """Server versions that are new enough, and where their programs are."""
    found: dict[int, Path] = {}
    for directory in _candidates():
        if all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres", "pg_ctl")):
            version = _version(directory)
            if version >= OLDEST_VERSION:
                found.setdefault(version, directory)
    return found


def _candidates() -> Iterable[Path]:
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run([pg_config, "--bindir"], check=False, capture_output=True, text=True)
        yield Path(asked.stdout.strip())
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "usr/libexec/postgresql*",
        "opt/homebrew/opt/postgresql@*/bin",
        "usr/local/opt/postgresql@*/bin",
    ):
        yield from Path("/").glob(pattern)


def _version(binaries: Path) -> int:
    printed = subprocess.run(
        [str(binaries / "postgres"), "--version"], check=False, capture_output=True, text=True
    ).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", printed)
    return int(match[1]) if match else 0


def _install(report: Report) -> None:
    name = next((name for name in INSTALLERS if shutil.which(name)), None)
    if name is None:
        return
    command = INSTALLERS[name]
    if os.geteuid() != 0 and name != "brew":
        if not _may_sudo():
            raise OperatorError(
                "PostgreSQL is not installed, and installing it takes root",
                hint=f"sudo {' '.join(command) if name != 'apt-get' else 'apt-get install postgresql'}",
            )
        command = ["sudo", "-n", *command]
    report(f"installing PostgreSQL with {name}")
    finished = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if finished.returncode != 0:
        last = (finished.stdout.strip().splitlines() or ["no message"])[-1]
        raise OperatorError(
            f"{name} could not install PostgreSQL: {last}",
            hint="install a PostgreSQL server yourself, or set DATABASE_URL",
        )


def _may_sudo() -> bool:
    return shutil.which("sudo") is not None and (
        subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    )
