"""`mana` as a process that starts in no time.

Half of what a short run of `mana` costs is reading its modules. So one process per test run reads them
once, and each further process is a fork of it which then does what ``python -m gateway`` does: it has a
session, an environment, a directory and files of its own, and workers that it spawns read everything again.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

from harness.places import ROOT

# What Python or the loader read when a program starts: with these, it has to be started.
_READ_AT_START = ("LD_", "PYTHON", "MALLOC_", "TZ", "LC_", "LANG")
_CODE = struct.Struct("i")


class Forked:
    """A forked process, with what tests use of Popen."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status  # a pipe that gets the exit code

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(f"mana (process {self.pid})", timeout or 0)
            (self.returncode,) = _CODE.unpack(os.read(self._status, _CODE.size))
            os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    arguments: list[str],
    environment: Mapping[str, str],
    stdout: IO[str] | int,
    stderr: IO[str] | int,
    cwd: Path | None = None,
    *,
    forked: bool = True,
    files: tuple[int, int] | None = None,
) -> subprocess.Popen[str] | Forked:
    """Start `mana` in a session of its own, in this environment and in nothing of ours, without input.

    ``files`` are the soft and the hard limit of files that it may open.
    """
    if not forked or files or any(name.startswith(_READ_AT_START) for name in environment):
        limited = ["prlimit", "--nofile={}:{}".format(*files)] if files else []
        command = [*limited, sys.executable, "-m", "gateway", *arguments]
        return subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=cwd, text=True,
            start_new_session=True,
        )  # fmt: skip
    request = {"arguments": arguments, "environment": dict(environment), "cwd": str(cwd or Path.cwd())}
    return _source().fork(request, *(each if isinstance(each, int) else each.fileno() for each in (stdout, stderr)))


def mana(
    *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of `mana` to its end, in this environment and in nothing of ours."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = start([*arguments], {"PATH": os.environ["PATH"], **(environment or {})}, stdout, stderr, cwd)
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        for written in (stdout, stderr):
            written.seek(0)
        return subprocess.CompletedProcess(["mana", *arguments], code, stdout.read(), stderr.read())


class _Source:
    """Our end of the process that has read the modules. It ends when this end is closed, so with us."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.programs", str(theirs.fileno())],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "tests")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, request: Mapping[str, object], stdout: int, stderr: int) -> Forked:
        status, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._socket, [json.dumps(request).encode()], [stdout, stderr, theirs])
                (pid,) = _CODE.unpack(self._socket.recv(_CODE.size))
        finally:
            os.close(theirs)
        return Forked(pid, status)


_only_one = threading.Lock()


@cache
def _started() -> _Source:
    return _Source()


def _source() -> _Source:
    with _only_one:
        return _started()


# ---------------------------------------------------------------- the process that is forked


def _serve(requests: socket.socket) -> None:
    """Fork for each request, and pass on how those processes end. Returns in each of them, and never else."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is requests:
                content, files, _, _ = socket.recv_fds(requests, 2**20, 3)
                if not content:
                    os._exit(0)
                if (pid := os.fork()) == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for end in (requests, woken, wake, selector):
                        end.close()
                    _become(json.loads(content), files[0], files[1])
                    for file in (*files, *running.values()):
                        os.close(file)
                    return
                running[pid] = files[2]
                for file in files[:2]:
                    os.close(file)
                requests.send(_CODE.pack(pid))
            else:
                woken.recv(2**10)
        _pass_on(running)


def _pass_on(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with os.fdopen(running.pop(pid), "wb") as file:
            try:
                file.write(_CODE.pack(os.waitstatus_to_exitcode(status)))
                file.flush()
            except BrokenPipeError:
                pass  # nobody waits for it any more


def _become(request: dict[str, object], stdout: int, stderr: int) -> None:
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.chdir(str(request["cwd"]))
    of_python = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}  # it sets that where none is
    os.environ.clear()
    os.environ.update(of_python | request["environment"])  # type: ignore[operator]
    sys.argv = ["mana", *request["arguments"]]  # type: ignore[misc]
    sys.path.remove(str(ROOT / "tests"))


def main() -> NoReturn:
    import gateway.http.workers
    import gateway.operate.bench
    import gateway.operate.cli
    import gateway.operate.maintain  # noqa: F401

    assert threading.active_count() == 1
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    main()
