"""The server's processes: the account they run as, the directory they can reach, how they end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gateway.operate.migrate import Report
from gateway.problems import OperatorError

UNREACHABLE_DATA = Path("/var/lib/mana-core-auth")

# Signals for a server, and seconds to wait before the next: fast, immediate, kill.
SHUTDOWN = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True)
class Account:
    """The account that the server's processes run as: ours (None), or another user's when we are root."""

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
        """Options of subprocess for a process of the account, which sees only ``environment`` and a search path."""
        return {
            "stdin": subprocess.DEVNULL,
            "cwd": "/",
            # Our own environment has secrets, and PG* variables that the server would obey.
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(environment or {})},
            "user": self.uid,
            "group": self.gid,
            "extra_groups": None if self.uid is None else [],
        }


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running server: its first process and its port."""

    pid: int
    port: int


def account_for(data: Path | None) -> Account:
    """The account for a server on this data: PostgreSQL refuses root, and data that another user owns.

    Raises OperatorError when we are root and there is no other account.
    """
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
    """The cluster's directory, created on first use where the server's account can reach it."""
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


def running_postmaster(data: Path) -> Postmaster | None:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        running = Postmaster(int(lines[0]), int(lines[3]))
    except (FileNotFoundError, IndexError, ValueError):
        return None
    # After a crash another process may have this number.
    return running if str(data) in _command_of(running.pid) else None


def _command_of(pid: int) -> str:
    """The command line of a process; empty when the process has ended."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listed = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return listed.stdout


def end_left_over(data: Path, report: Report) -> None:
    """Stop a server whose owner was killed. The caller has the lock, so nobody else uses the server."""
    if running := running_postmaster(data):
        report("stopping the PostgreSQL server that a killed run left behind")
        shut_down(running.pid, gone=lambda: running_postmaster(data) is None)


def shut_down(pid: int, gone: Callable[[], bool]) -> None:
    """Shut a server down, with the next harder signal after each deadline and each further Ctrl-C."""
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


def last_error(log: Path, offset: int = 0) -> str:
    """The reason why a server ended: the last error in its log after an offset in bytes."""
    with log.open("rb") as file:
        file.seek(offset)
        written = file.read().decode(errors="replace").strip()
    # "The database system is starting up" (or shutting down) is an answer to clients, not the reason.
    errors = re.findall(r"(?:FATAL|PANIC): +(?!the database system)(.+)", written)
    return str((errors or written.splitlines() or ["it ended without a message"])[-1])
