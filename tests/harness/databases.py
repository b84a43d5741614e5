"""PostgreSQL servers and the databases on them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from gateway.operate import migrate
from gateway.operate.local_postgres import NOT_DURABLE, LocalPostgres
from gateway.operate.postgres_processes import account_for
from gateway.operate.postgres_programs import find_binaries
from gateway.problems import OperatorError
from harness.places import ROOT, public_directory

if TYPE_CHECKING:
    from testcontainers.community.postgres import PostgresContainer

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
            connection.execute("select set_config('request.user_ids', %s, true)", (str(user_id),))
            connection.execute("set local role mana_ledger")
            connection.execute(
                "select _credits.post_movements(array[row("
                "    %s, 'adjustment', 'adjustments', %s, %s, 'a gift', null, null, null, null, null"
                ")::credits.movement])",
                (user_id, free, paid),
            )

    def assert_ledger_is_sound(self) -> None:
        found = self.query("select * from credits.verify_ledger()")
        assert found == [], found[:5]


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
    def database(self, *, migrated: bool = True, locale: str = "") -> Iterator[Database]:
        """A new database, dropped at the end. ``locale`` is what CREATE DATABASE takes, of an empty one."""
        with self._created("template_mana" if migrated else "template0", locale) as created:
            if migrated:
                migrate.write_database_settings(created.admin_url)
            yield created

    @contextlib.contextmanager
    def copy_of(self, database: Database) -> Iterator[Database]:
        """A copy of a migrated database that nobody is connected to, dropped at the end."""
        with self._created(database.name) as created:
            migrate.write_database_settings(created.admin_url)
            yield created

    @contextlib.contextmanager
    def _created(self, template: str, locale: str = "") -> Iterator[Database]:
        name = f"mana_{secrets.token_hex(4)}"
        self._execute(f"create database {name} template {template} {locale}")
        try:
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


ODD_NAME = "my db/100%'\\\""  # what libpq takes as the name of a database


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
        self.server = LocalPostgres(
            self.directory / "server", durable=durable, settings=self.settings, database=ODD_NAME
        )

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
