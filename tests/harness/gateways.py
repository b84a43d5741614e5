"""The gateway as a process."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from gateway.tokens.keys import KeyDirectory
from harness import programs
from harness.clients import Service
from harness.metrics import sample

PEPPER = "a pepper for tests, as long as it must be"

# For tests of races: what the fixture `either_gateway` can be.
EVERY_GATEWAY = pytest.mark.parametrize(
    "either_gateway", [pytest.param("direct", marks=pytest.mark.soak), "pgbouncer", "workers"], indirect=True
)
# Of a provider that does not answer.
PAYMENTS = {
    "PUBLIC_URL": "https://auth.example.com",
    "STRIPE_SECRET_KEY": "sk_test_12345678",
    "STRIPE_WEBHOOK_SECRET": "whsec_of_tests_alone_0123456789",
    "STRIPE_API_BASE": "http://127.0.0.1:9",
}


class Gateway:
    """`mana serve` as a process. Everything it wrote is in ``output``."""

    def __init__(
        self,
        database_url: str,
        environment: Mapping[str, str] | None = None,
        *,
        forked: bool = True,
        files: tuple[int, int] | None = None,
    ) -> None:
        self._forked = forked
        self._files = files
        self.database_url = database_url
        self.data_dir = Path(tempfile.mkdtemp(prefix="mana-test-"))
        KeyDirectory(self.data_dir / "keys").generate()
        self.url = ""
        self.output: list[str] = []
        self._up = threading.Event()
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "PASSWORD_PEPPER": PEPPER,
            "DATA_DIR": str(self.data_dir),
            "PORT": "0",
            "RATE_LIMIT_MAX": "0",
            **PAYMENTS,
            **(environment or {}),
        }
        self.process: subprocess.Popen[str] | programs.Forked | None = None
        self._reader: threading.Thread | None = None

    def start(self, *, expect_up: bool = True) -> None:
        self._up.clear()
        ours, theirs = os.pipe()
        try:
            self.process = programs.start(
                ["serve"], self._environment, theirs, theirs, forked=self._forked, files=self._files
            )
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()
        if expect_up and not self._up.wait(20):
            raise AssertionError("".join(self.output))

    def _read(self, written: int) -> None:
        with open(written) as lines:
            for line in lines:
                self.output.append(line)
                if "serving at " in line:
                    self.url = line.rpartition(" ")[2].strip()
                    self._up.set()
        self._up.set()

    def wait_until_up_or_ended(self, timeout: float) -> None:
        """It is up if it has a ``url``."""
        self._up.wait(timeout)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, and return the exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.end(30)

    def end(self, timeout: float = 20) -> int:
        """Wait until it ends by itself and all that it wrote is in ``output``, and return the exit code."""
        assert self.process
        assert self._reader
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.stop(signal.SIGTERM)
        shutil.rmtree(self.data_dir)

    def sockets(self) -> int:
        """How many sockets the process has open. For a gateway with one worker."""
        assert self.process
        found = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed by now
                found += str(descriptor.readlink()).startswith("socket:")
        return found


def workers_of(gateway: Gateway) -> list[int]:
    """The worker processes: those children that hold a listening socket of ours."""
    assert gateway.process
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    spawned = [int(pid) for pid in children if b"spawn_main" in command_line(int(pid))]
    return sorted(spawned)


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def rests(service: Service) -> bool:
    """Whether a gateway of one worker has every connection to its database that it should, and no call."""
    text = (await service.get("/metrics")).text
    calls = [
        sample(text, "mana_database_calls", lane=lane, state=state)
        for lane in ("quick", "password")
        for state in ("waiting", "in_flight")
    ]
    connections = [sample(text, "mana_database_connections", lane=lane) for lane in ("quick", "password")]
    return not any(calls) and connections == [8, 2]


@contextlib.contextmanager
def grows_by_less_than(most: int, gateway: Gateway) -> Iterator[None]:
    """At no time does what happens in here take the gateway's process more memory than this, in bytes."""
    assert gateway.process
    process = Path(f"/proc/{gateway.process.pid}")

    def peak() -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
        assert found
        return int(found[1]) * 1024

    (process / "clear_refs").write_text("5")  # the peak is what there is now
    before = peak()
    yield
    assert peak() - before < most
