"""The parts that tests start, and the client they talk with."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import inspect
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import psycopg
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from gateway.database.lanes import array_literal
from gateway.operate import migrate
from gateway.operate.local_postgres import NOT_DURABLE, LocalPostgres
from gateway.operate.postgres_processes import account_for
from gateway.operate.postgres_programs import find_binaries
from gateway.problems import OperatorError
from gateway.tokens.keys import KeyDirectory

if TYPE_CHECKING:
    from testcontainers.community.postgres import PostgresContainer

ROOT = Path(__file__).parents[2]
PEPPER = "a pepper for tests, as long as it must be"
PASSWORD = "correct horse battery"

# For tests of races: what a fixture `either_gateway` can be.
EVERY_GATEWAY = pytest.mark.parametrize("either_gateway", ["direct", "pgbouncer", "workers"], indirect=True)

# bcrypt that takes no time, and a clock that a test can move: in the databases of tests alone.
_FOR_TESTS = """
create or replace function _auth.password_cost() returns int language sql immutable as 'select 4';
create schema test;
create table test.clock (shift interval not null);
insert into test.clock values ('0');
grant usage on schema test to public;
grant select on test.clock to public;
create or replace function base.clock() returns timestamptz language sql volatile
as 'select clock_timestamp() + shift from test.clock';
"""


@dataclass(eq=False)
class Database:
    """A migrated database, and how its administrator and its gateway reach it."""

    admin_url: str
    gateway_url: str

    @property
    def name(self) -> str:
        return urlsplit(self.admin_url).path.lstrip("/")

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the administrator, in autocommit."""
        return psycopg.connect(self.admin_url, autocommit=True)

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of one statement, as the administrator."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), arguments)
            return cursor.fetchall() if cursor.description else []

    def move_clock(self, shift: timedelta) -> None:
        """Let base.clock() run this much ahead of the real time, from now on."""
        # In seconds: a day of an interval is a calendar day, of 23 hours at times.
        self.query("update test.clock set shift = make_interval(secs => %s)", shift.total_seconds())

    def give_credits(self, user_id: str, *, free: int = 0, paid: int = 0) -> None:
        """Move credits to a user, as an adjustment of an administrator."""
        with self.connect() as connection, connection.transaction():
            claims = json.dumps({"sub": user_id})
            connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
            connection.execute("set local role mana_ledger")
            connection.execute(
                "select _credits.post_movements(array[row("
                "    %s, 'adjustment', 'adjustments', %s, %s, 'a gift', null, null, null, null, null"
                ")::credits.movement])",
                (user_id, free, paid),
            )

    def assert_ledger_is_sound(self) -> None:
        assert self.query("select * from credits.verify_ledger()") == []


@contextlib.contextmanager
def backend_login(database: Database) -> Iterator[str]:
    """The URL of a trusted backend: a login role in mana_backend with a table ``shop.orders`` of its own."""
    name, password = f"shop_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    with database.connect() as connection:
        connection.execute(f"create role {name} login password '{password}' in role mana_backend".encode())
        connection.execute(f"create schema shop authorization {name}; set role {name}".encode())
        connection.execute("create table shop.orders (user_id uuid not null, transaction_id uuid not null)")
    parts = urlsplit(database.admin_url)
    try:
        yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
    finally:
        with database.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (name,)
            )
            connection.execute(f"drop owned by {name}; drop role {name}".encode())


PgDump = Callable[[str, Sequence[str]], str]  # a database's URL and options -> the dump


class Cluster:
    """A server and its template; databases are copied from it in a fraction of a second."""

    def __init__(self, admin_url: str, log: Path, pg_dump: PgDump) -> None:
        self.admin_url = admin_url
        self.log = log
        self._pg_dump = pg_dump
        self._password = secrets.token_urlsafe(16)

    def url(self, name: str, user: str | None = None) -> str:
        parts = urlsplit(self.admin_url)
        host = parts.netloc.rpartition("@")[2]
        netloc = f"{user}:{self._password}@{host}" if user else parts.netloc
        return urlunsplit(parts._replace(netloc=netloc, path=f"/{name}"))

    def dump(self, name: str, *arguments: str) -> str:
        """What pg_dump, of the server's own version, says of a database."""
        return self._pg_dump(self.url(name), arguments)

    def prepare(self) -> None:
        """Migrate the template."""
        self._execute("create database template_mana template template0")
        url = self.url("template_mana")
        migrate.apply(url, lambda _: None)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_FOR_TESTS)
            connection.execute(sql.SQL("alter role mana_gateway password {}").format(sql.Literal(self._password)))

    @contextlib.contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[Database]:
        """A new database, dropped at the end."""
        name = f"mana_{secrets.token_hex(4)}"
        template = "template_mana" if migrated else "template0"
        self._execute(f"create database {name} template {template}")
        try:
            if migrated:
                migrate.write_database_settings(self.url(name))
            yield Database(self.url(name), self.url(name, "mana_gateway"))
        finally:
            self._execute(f"drop database {name} with (force)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def start_cluster() -> Iterator[Cluster]:
    with start_server() as cluster:
        cluster.prepare()
        yield cluster


@contextlib.contextmanager
def start_server(settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A server without a database of ours: from local binaries, from Docker where there are none."""
    options = {"max_connections": "300", **(settings or {})}
    try:
        find_binaries()
    except OperatorError as error:
        if not _docker_answers():
            raise OperatorError(str(error), hint=f"{error.hint}; or start Docker") from error
        source = _server_in_docker(options)
    else:
        source = _local_server(options)
    with source as cluster:
        yield cluster


@contextlib.contextmanager
def _local_server(settings: Mapping[str, str]) -> Iterator[Cluster]:
    server = LocalPostgres(public_directory(), durable=False, settings=settings)
    try:
        server.start(lambda _: None)
        yield Cluster(server.url, server.directory / "server.log", _pg_dump)
    finally:
        server.remove()


@contextlib.contextmanager
def killable_cluster() -> Iterator[tuple[LocalPostgres, Cluster]]:
    """A durable server of one's own, to be killed and started again, with its template."""
    settings = {"max_connections": "300", "recovery_init_sync_method": "syncfs"}  # the latter as in production.conf
    server = LocalPostgres(public_directory(), settings=settings)
    try:
        server.start(lambda _: None)
        cluster = Cluster(server.url, server.directory / "server.log", _pg_dump)
        cluster.prepare()
        yield server, cluster
    finally:
        server.remove()


class Archiving:
    """A server that archives its WAL as postgres/production.conf says, and its encrypted repository.

    The server has the passphrase in its own configuration of pgBackRest, ``server_conf``; `mana` gets it as
    BACKUP_PASSPHRASE, in ``environment``.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, durable: bool = True) -> None:
        self.passphrase = secrets.token_urlsafe(32)
        self.directory = public_directory()
        self.repository = self.directory / "repository"
        account = account_for(None)
        for path in (self.repository, self.directory / "socket", self.directory / "lock"):
            path.mkdir(mode=0o700)
            account.own(path)
        shared = (ROOT / "postgres" / "pgbackrest.conf").read_text()
        for production, ours in (
            ("repo1-path=/var/lib/pgbackrest", f"repo1-path={self.repository}"),
            ("[mana]\npg1-path=/var/lib/postgresql/data\n", f"lock-path={self.directory}/lock\n"),
        ):
            assert production in shared
            shared = shared.replace(production, ours)
        self.conf, self.server_conf = self.directory / "pgbackrest.conf", self.directory / "server.conf"
        self.conf.write_text(shared)
        self.server_conf.write_text(f"{shared}repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass={self.passphrase}\n")
        for path in (self.conf, self.server_conf):
            path.chmod(0o600)
            account.own(path)
        production = (ROOT / "postgres" / "production.conf").read_text()
        archive = dict(re.findall(r"^(archive_\w+) = '?(.+?)'?$", production, re.MULTILINE))
        found = f'env PGBACKREST_CONFIG={self.server_conf} PGBACKREST_PG1_PATH="$PWD"'
        archive["archive_command"] = f"{found} {archive['archive_command']}"
        self.settings = {
            **archive, "wal_level": "replica", "unix_socket_directories": f"{self.directory}/socket", **(settings or {})
        }  # fmt: skip
        self.server = LocalPostgres(self.directory / "server", durable=durable, settings=self.settings)

    @property
    def environment(self) -> dict[str, str]:
        """What `mana backup`, `restore` and `maintain` need."""
        return {
            "DATABASE_ADMIN_URL": self.server.url,
            "DATA_DIR": str(self.directory / "data"),
            "PGBACKREST_CONFIG": str(self.conf),
            "BACKUP_PASSPHRASE": self.passphrase,
        }

    def __enter__(self) -> Self:
        self.server.start(lambda _: None)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.remove()
        shutil.rmtree(self.directory)


def _pg_dump(url: str, arguments: Sequence[str]) -> str:
    program = find_binaries() / "pg_dump"
    finished = subprocess.run([program, *arguments, url], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@contextlib.contextmanager
def _server_in_docker(settings: Mapping[str, str]) -> Iterator[Cluster]:
    # Late, because hardly any machine needs it.
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.image import DockerImage

    # The image is kept: the next run builds it from its layers in no time.
    base = os.environ.get("POSTGRES_IMAGE")
    image = DockerImage(
        path=ROOT, dockerfile_path="postgres/Dockerfile", target="server", clean_up=False,
        buildargs={"BASE": base} if base else None,
    )  # fmt: skip
    image.build()
    server = PostgresContainer(str(image), username="postgres", password=secrets.token_urlsafe(32), driver=None)
    options = {**NOT_DURABLE, **settings}
    server.with_command(["postgres", *(f"--{name}={value}" for name, value in options.items())])

    def pg_dump(url: str, arguments: Sequence[str]) -> str:
        inside = urlunsplit(urlsplit(url)._replace(netloc="postgres@"))
        exit_code, output = server.exec(["pg_dump", *arguments, inside])
        assert exit_code == 0, output.decode()
        return output.decode()

    directory = public_directory()
    try:
        with server:
            log = directory / "server.log"
            threading.Thread(target=_follow, args=(server, log), daemon=True).start()
            yield Cluster(server.get_connection_url(), log, pg_dump)
    finally:
        shutil.rmtree(directory)


def _follow(container: PostgresContainer, log: Path) -> None:
    with log.open("wb", buffering=0) as file:
        for chunk in container.get_wrapped_container().logs(stream=True, follow=True):
            file.write(chunk)


def _docker_answers() -> bool:
    import docker

    try:
        return bool(docker.from_env().ping())
    except docker.errors.DockerException:
        return False


def public_directory() -> Path:
    """A temporary directory that a server under another account can get into."""
    directory = Path(tempfile.mkdtemp(prefix="mana-test-"))
    directory.chmod(0o711)
    return directory


def as_array(values: Sequence[object]) -> str:
    """An argument of a function that serves many users, as the gateway sends it: an element for each call."""
    return array_literal([None if value is None else str(value).encode() for value in values]).decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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


class Gateway:
    """`mana serve` as a process. Everything it wrote is in ``output``."""

    def __init__(self, database_url: str, environment: Mapping[str, str] | None = None) -> None:
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
            **(environment or {}),
        }
        self.process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, *, expect_up: bool = True) -> None:
        self._up.clear()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        if expect_up and not self._up.wait(20):
            raise AssertionError("".join(self.output))

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.output.append(line)
            if "serving at " in line:
                self.url = line.rpartition(" ")[2].strip()
                self._up.set()
        self._up.set()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, and return the exit code."""
        assert self.process
        assert self._reader
        self.process.send_signal(number)
        code = self.process.wait(30)
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


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers and its decoded body."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str


@dataclass
class Session:
    """A logged-in user, as an app has it."""

    service: Service
    user_id: str
    email: str
    access_token: str
    refresh_token: str

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.service.get(path, token=self.access_token, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Reply:
        return await self.service.post(path, body, token=self.access_token, **options)

    async def use(self, amount: int = 1, **fields: Any) -> Reply:
        """Spend credits."""
        body = {"amount": amount, "appId": "tests", "description": "a test", **fields}
        return await self.post("/api/v1/credits/use", body)

    async def balance(self) -> dict[str, Any]:
        reply = await self.get("/api/v1/credits/balance")
        assert reply.status == 200, reply.text
        balance: dict[str, Any] = reply.body
        return balance


class EveryNameIs(AbstractResolver):
    """Leads every name to one host."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self._host, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """There is nothing to close."""


@dataclass
class Service:
    """A client of one gateway."""

    url: str
    client: aiohttp.ClientSession = field(init=False)

    async def __aenter__(self) -> Self:
        self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: object = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """``body`` is sent as JSON, ``data`` as it is."""
        sent = dict(headers or {})
        if token:
            sent.setdefault("Authorization", f"Bearer {token}")
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.client.request(
            method, self.url + path, data=data, headers=sent, allow_redirects=False
        ) as response:
            text = await response.text(errors="replace")
            decoded = json.loads(text) if "json" in response.content_type and text else None
            return Reply(response.status, response.headers, decoded, text)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Reply:
        return await self.request("POST", path, body=body, **options)

    async def register(self, email: str | None = None, password: str = PASSWORD, **fields: Any) -> Reply:
        address = email or f"{secrets.token_hex(8)}@example.com"
        return await self.post("/api/v1/auth/register", {"email": address, "password": password, **fields})

    async def login(self, email: str, password: str = PASSWORD, **fields: Any) -> Reply:
        return await self.post("/api/v1/auth/login", {"email": email, "password": password, **fields})

    async def new_session(self, **fields: Any) -> Session:
        """Register a new user and log in."""
        registered = await self.register()
        assert registered.status == 201, registered.text
        return await self.session(registered.body["email"], **fields)

    async def session(self, email: str, **fields: Any) -> Session:
        """Log in once more."""
        reply = await self.login(email, **fields)
        assert reply.status == 200, reply.text
        body = reply.body
        return Session(self, body["user"]["id"], email, body["accessToken"], body["refreshToken"])

    async def refresh(self, refresh_token: str) -> Reply:
        return await self.post("/api/v1/auth/refresh", {"refreshToken": refresh_token})


def mana(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of `mana` to its end, in this environment and in nothing of ours."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={"PATH": os.environ["PATH"], **(environment or {})},
    )


def exchange(url: str, sent: bytes) -> Reply:
    """The answer to these very bytes, also to such as no client would send."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 30) as connection:
        with contextlib.suppress(ConnectionError):  # who refuses a long body need not read it
            connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        response.begin()
        text = response.read().decode(errors="replace")
        decoded = json.loads(text) if "json" in response.headers.get("Content-Type", "") and text else None
        return Reply(response.status, response.headers, decoded, text)  # type: ignore[arg-type]


async def together(*calls: Any) -> list[Any]:
    """Run all at once and return their results in order."""
    return list(await asyncio.gather(*calls))


def assert_problem(reply: Reply, status: int, code: str) -> None:
    """The reply is a problem of this kind, complete and in both dialects."""
    assert (reply.status, reply.body.get("code")) == (status, code), reply.text
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.body["status"] == reply.body["statusCode"] == status
    assert reply.body["message"] == reply.body["detail"]
    assert datetime.fromisoformat(reply.body["timestamp"])
    assert {"type", "title", "instance", "path"} <= set(reply.body)


async def until(true: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for something that happens in another process; ``true`` may have to be awaited."""
    deadline = time.monotonic() + seconds
    while not (await found if inspect.isawaitable(found := true()) else found):
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)


def sample(text: str, name: str, **labels: str) -> float:
    """The value of one sample, 0 when there is none."""
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return found.value
    return 0


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
def held_balance(database: Database, user_id: str) -> Iterator[psycopg.Connection[Any]]:
    """Another transaction holds the user's balance, so that a spend has to wait."""
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("select from credits.balances where user_id = %s for update", (user_id,))
        yield connection


def waiting_for_a_lock(database: Database) -> int:
    rows = database.query(
        "select count(*) from pg_stat_activity where usename = 'mana_gateway' and wait_event_type = 'Lock'"
        " and datname = current_database()"
    )
    return int(rows[0][0])
