"""Redis and PgBouncer as processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from harness.databases import Cluster, Database
from harness.places import free_port, public_directory


class ServerProcess(ABC):
    """A server process with files in a directory of its own, up when its port answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = public_directory()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What is executed, arguments included."""

    def start(self) -> None:
        user = {"user": "nobody"} if os.getuid() == 0 else {}
        if user:
            shutil.chown(self.directory, "nobody")
        log = (self.directory / "log").open("ab")
        self.process = subprocess.Popen(
            self.command(), cwd=self.directory, stdout=log, stderr=log, start_new_session=True, **user
        )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.directory / "log").read_text())
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory)


class Redis(ServerProcess):
    password = "redis of the tests"

    def command(self) -> list[str]:
        program = shutil.which("redis-server")
        assert program, "redis-server is not installed: tests/tools.sh"
        return [program, "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", self.password, "--save", ""]

    @property
    def environment(self) -> dict[str, str]:
        return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self.port), "REDIS_PASSWORD": self.password}


class PgBouncer(ServerProcess):
    """PgBouncer in transaction mode before a cluster, or the server of a gateway's URL.

    ``port`` is where it finds the server instead, ``logins`` are URLs of roles that may come besides the
    gateway, ``settings`` are PgBouncer's own.
    """

    def __init__(
        self,
        server: Cluster | str,
        connections: int = 2,
        *,
        port: int | None = None,
        logins: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        upstream = urlsplit(server if isinstance(server, str) else server.url("x", "mana_gateway"))
        users = self.directory / "users.txt"
        known = (upstream, *map(urlsplit, logins))
        users.write_text("".join(f'"{login.username}" "{login.password}"\n' for login in known))
        more = "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
        (self.directory / "pgbouncer.ini").write_text(
            f"""[databases]
* = host={upstream.hostname} port={port or upstream.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 500
server_tls_sslmode = disable
server_login_retry = 1
{more}"""
        )

    def command(self) -> list[str]:
        return [self.program(), str(self.directory / "pgbouncer.ini")]

    @staticmethod
    def program() -> str:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "pgbouncer is not installed: tests/tools.sh"
        return program

    @classmethod
    def version(cls) -> tuple[int, ...]:
        said = subprocess.run([cls.program(), "--version"], check=True, capture_output=True, text=True).stdout
        return tuple(int(number) for number in said.split()[1].split("."))

    def url(self, database: Database) -> str:
        """The gateway's way to its database."""
        return self.through(database.gateway_url)

    def through(self, url: str) -> str:
        """The same database as the same role, by way of the pooler."""
        parts = urlsplit(url)
        netloc = f"{parts.username}:{parts.password}@127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=netloc))
