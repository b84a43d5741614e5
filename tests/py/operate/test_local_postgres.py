"""The private server: durable, private, one owner at a time, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.operate.local_postgres import LocalPostgres, read_url
from gateway.operate.postgres_programs import find_binaries
from gateway.problems import OperatorError

OWNER = """
import sys, time
from pathlib import Path
from gateway.operate.local_postgres import LocalPostgres
server = LocalPostgres(Path(sys.argv[1]), durable=False)
server.start(lambda _: None)
print("started", flush=True)
time.sleep(600)
"""


def ignore(_: str) -> None:
    pass


def postmaster(directory: Path) -> int:
    return int((directory / "cluster" / "data" / "postmaster.pid").read_text().split()[0])


def processes(directory: Path) -> list[int]:
    """The server's first process and its children."""
    first = postmaster(directory)
    return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]


def runs(pid: int) -> bool:
    """Whether it runs; a process that waits for its parent to ask how it ended does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def ended(pids: list[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(runs, pids))


def fetch(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Below pytest's own directory, which is closed to all other users: as root, the fallback is used."""
    directory = tmp_path / "postgres"
    yield directory
    LocalPostgres(directory).remove()
    assert not directory.exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """One for the tests that leave it as it is."""
    server = LocalPostgres(tmp_path_factory.mktemp("shared") / "postgres", durable=False)
    try:
        server.start(ignore)
        run(server.url, "create role mana_gateway login")
        yield server
    finally:
        server.remove()


def test_data_outlives_the_server(directory: Path) -> None:
    with LocalPostgres(directory) as first:
        assert fetch(first.url, "show fsync") == "on"
        run(first.url, "create table kept as select 42 as answer")
        url = first.url
    with LocalPostgres(directory) as second:
        assert second.url == url
        assert fetch(second.url, "select answer from kept") == 42


def test_stop_leaves_no_process(directory: Path) -> None:
    server = LocalPostgres(directory, durable=False)
    server.start(ignore)
    pids = processes(directory)
    assert len(pids) > 1
    with psycopg.connect(server.url) as open_connection:
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            open_connection.execute("select 1")
    assert not any(map(runs, pids))
    server.stop()


def test_a_start_that_fails_leaves_no_process_and_no_lock(directory: Path) -> None:
    with pytest.raises(OperatorError, match="did not start: configuration file"):
        LocalPostgres(directory, durable=False, settings={"no_such_setting": "1"}).start(ignore)
    with LocalPostgres(directory, durable=False) as server:
        assert fetch(server.url, "select 1") == 1


def test_a_second_start_is_refused_while_the_(server: LocalPostgres, directory: Path) -> None:
    with pytest.raises(OperatorError, match="already running"):
        LocalPostgres(server.directory, durable=False).start(ignore)
    assert fetch(server.url, "select 1") == 1


def test_the_server_of_a_killed_owner_is_taken_over(directory: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(directory)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"started\n"
    with pytest.raises(OperatorError, match="already running"):
        LocalPostgres(directory, durable=False).start(ignore)
    run(read_url(directory), "create table kept ()")

    owner.kill()
    owner.communicate()
    left_over = processes(directory)
    assert runs(postmaster(directory))

    said: list[str] = []
    server = LocalPostgres(directory, durable=False)
    try:
        server.start(said.append)
        assert any("left behind" in line for line in said)
        assert ended(left_over)
        assert postmaster(directory) not in left_over
        assert fetch(server.url, "select count(*) from kept") == 0
    finally:
        server.stop()


def test_a_crashed_server_starts_again(directory: Path) -> None:
    crashed = LocalPostgres(directory)
    crashed.start(ignore)
    run(crashed.url, "create table kept ()")
    os.kill(postmaster(directory), signal.SIGKILL)
    crashed.stop()
    with LocalPostgres(directory) as server:
        assert fetch(server.url, "select count(*) from kept") == 0


@pytest.mark.soak
def test_the_number_of_a_dead_server_may_be_anybodys(directory: Path) -> None:
    with LocalPostgres(directory, durable=False):
        pid_file = directory / "cluster" / "data" / "postmaster.pid"
        stale = pid_file.read_text().splitlines()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *stale[1:]]) + "\n")
        with pytest.raises(OperatorError, match="not running"):
            read_url(directory)
        with LocalPostgres(directory, durable=False) as server:
            assert fetch(server.url, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_wrong_password_is_refused(server: LocalPostgres) -> None:
    rest = server.url.partition("@")[2]
    for url in (f"postgresql://postgres@{rest}", f"postgresql://postgres:wrong@{rest}"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url)


def test_only_this_machine_can_connect(server: LocalPostgres) -> None:
    assert fetch(server.url, "show listen_addresses") == "127.0.0.1"
    assert fetch(server.url, "show unix_socket_directories") == ""
    assert fetch(server.url, "select count(*) from pg_hba_file_rules where auth_method <> 'scram-sha-256'") == 0


def test_secrets_are_readable_by_their_owner_alone(server: LocalPostgres) -> None:
    server.gateway_url()
    for name in ("password", "gateway_password", "server.log"):
        assert (server.directory / name).stat().st_mode & 0o777 == 0o600
    assert (server.directory / "cluster" / "data").stat().st_mode & 0o777 == 0o700


def test_the_gateways_password_never_reaches_the_server(directory: Path) -> None:
    with LocalPostgres(directory, durable=False, settings={"log_statement": "all"}) as server:
        run(server.url, "create role mana_gateway login")
        url = server.gateway_url()
        assert fetch(url, "select current_user") == "mana_gateway"
        assert server.gateway_url() == url
    log = (directory / "server.log").read_text()
    assert 'alter role "mana_gateway" password' in log
    assert (directory / "gateway_password").read_text() not in log


def test_the_projects_settings_are_in_force(server: LocalPostgres) -> None:
    assert fetch(server.url, "show log_parameter_max_length") == "0"
    assert fetch(server.url, "show log_error_verbosity") == "terse"
    assert fetch(server.url, "show fsync") == "off"
    assert fetch(server.url, "show server_encoding") == "UTF8"


@pytest.mark.soak
def test_a_port_that_was_taken_meanwhile_is_not_insisted_on(directory: Path) -> None:
    with LocalPostgres(directory, durable=False) as first:
        port = int(first.url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)), LocalPostgres(directory, durable=False) as second:
        assert f":{port}/" not in second.url
        assert fetch(second.url, "select 1") == 1


def test_data_of_another_major_version_is_refused(directory: Path) -> None:
    with LocalPostgres(directory, durable=False):
        pass
    (directory / "cluster" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(OperatorError, match="made by PostgreSQL 9"):
        LocalPostgres(directory, durable=False).start(ignore)


def test_an_interrupted_creation_is_done_again(directory: Path) -> None:
    with LocalPostgres(directory, durable=False):
        pass
    cluster = directory / "cluster"
    (cluster / "data").rename(cluster.resolve() / "data.new")
    with LocalPostgres(directory, durable=False) as server:
        assert fetch(server.url, "select 1") == 1


def test_read_url_needs_a_running_server(directory: Path) -> None:
    with pytest.raises(OperatorError, match="there is no database"):
        read_url(directory)
    with LocalPostgres(directory, durable=False) as server:
        assert read_url(directory) == server.url
    with pytest.raises(OperatorError, match="not running"):
        read_url(directory)


def test_the_server_found_is_new_enough() -> None:
    assert (find_binaries() / "initdb").exists()
