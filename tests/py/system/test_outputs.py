"""What a process prints never decides what it does: the output is full, closed, without a reader or stands still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from gateway.tokens.keys import KeyDirectory
from harness.clients import PASSWORD, Service, assert_problem
from harness.databases import Cluster, Database
from harness.gateways import PEPPER
from harness.metrics import sample
from harness.places import free_port
from harness.waiting import until

OUTPUTS = {
    "output full": "> /dev/full",
    "output and errors full": "> /dev/full 2>&1",
    "output closed": ">&-",
    "all closed": "<&- >&- 2>&-",
    "reader gone": "| sleep 0",
    "reader of both gone": "2>&1 | sleep 0",
}


IN_GATE = {("output full", "2"), ("all closed", "1")}


@contextlib.contextmanager
def started(arguments: list[str], environment: Mapping[str, str], redirection: str) -> Iterator[subprocess.Popen[str]]:
    """`mana` in a shell of its own, which sends its output where it is told to; ended with all that it started."""
    command = f"{shlex.join([sys.executable, '-m', 'gateway', *arguments])} {redirection}"
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextlib.asynccontextmanager
async def serving(
    database: Database, redirection: str, environment: Mapping[str, str]
) -> AsyncIterator[tuple[Service, subprocess.Popen[str]]]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mana-test-") as data_dir:
        KeyDirectory(Path(data_dir) / "keys").generate()
        settings = {
            "DATABASE_URL": database.gateway_url, "PASSWORD_PEPPER": PEPPER, "DATA_DIR": data_dir, "PORT": str(port),
            "RATE_LIMIT_MAX": "0", **environment,
        }  # fmt: skip
        with started(["serve"], settings, redirection) as process:
            async with Service(f"http://127.0.0.1:{port}") as service:
                await until(lambda: _answers(service))
                yield service, process


async def _answers(service: Service) -> bool:
    with contextlib.suppress(OSError):
        return (await service.get("/health/ready")).status == 200
    return False


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found] + [below for child in found for below in children_of(int(child))]


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """What the process and all below it have used."""
    ticks = 0
    for pid in [process.pid, *children_of(process.pid)]:
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def assert_served(service: Service, database: Database) -> None:
    """Each kind of request is answered as it should be, and charged once."""
    user = await service.new_session()
    spends = [await user.use(10, idempotencyKey=key) for key in ("a", "b", "a")]
    assert [reply.status for reply in spends] == [200, 200, 200]
    assert spends[2].headers["Idempotency-Replayed"] == "true"
    assert_problem(await user.use(10**9), 402, "insufficient_credits")
    assert_problem(await user.use(0), 400, "invalid_request")
    assert_problem(await service.get("/nowhere"), 404, "not_found")
    assert_problem(await service.login(user.email, "another password"), 401, "invalid_credentials")
    assert (await user.balance())["freeCreditsRemaining"] == 130
    assert (await user.post("/api/v1/auth/logout")).status == 200
    database.assert_ledger_is_sound()


async def lines_are_counted(service: Service) -> bool:
    return sample((await service.get("/metrics")).text, "mana_log_lines_lost_total") > 5


@pytest.mark.parametrize(
    ("output", "workers"),
    [
        pytest.param(output, workers, marks=[] if (output, workers) in IN_GATE else pytest.mark.soak)
        for output in OUTPUTS
        for workers in ("1", "2")
    ],
)
async def test_requests_are_answered_whatever_becomes_of_the_log(database: Database, output: str, workers: str) -> None:
    async with serving(database, OUTPUTS[output], {"WORKERS": workers}) as (service, process):
        await assert_served(service, database)
        await until(lambda: lines_are_counted(service))
        before = processor_seconds(process)
        await asyncio.sleep(1)
        assert processor_seconds(process) - before < 0.5, "it is busy with a log that it cannot write"
        (serve,) = [pid for pid in children_of(process.pid) if b"gateway\0serve" in _command_line(pid)]
        os.kill(serve, signal.SIGTERM)
        assert process.wait(20) == 0


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.soak)])
async def test_no_request_waits_for_a_reader_that_stands_still(database: Database, workers: str) -> None:
    async with serving(database, "| sleep 600", {"WORKERS": workers}) as (service, process):
        for _ in range(20):  # far more than a pipe holds
            replies = await asyncio.gather(*(service.get("/health/live") for _ in range(100)))
            assert {reply.status for reply in replies} == {200}
        await asyncio.wait_for(assert_served(service, database), 30)
        (serve,) = [pid for pid in children_of(process.pid) if b"gateway\0serve" in _command_line(pid)]
        os.kill(serve, signal.SIGTERM)
        await until(lambda: not Path(f"/proc/{serve}").exists())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.soak), "2"])
async def test_a_disk_that_becomes_full_stops_nothing(database: Database, small_disk: Path, workers: str) -> None:
    """Neither the log nor the files in which workers add up their metrics."""
    environment = {"WORKERS": workers, "TMPDIR": str(small_disk)}
    async with serving(database, f">> {small_disk}/log", environment) as (service, _):
        with contextlib.suppress(OSError), (small_disk / "ballast").open("wb") as ballast:
            while True:
                ballast.write(b"x" * 4096)
                ballast.flush()
        for _ in range(10):
            await asyncio.gather(*(service.get("/health/live") for _ in range(100)))
        await assert_served(service, database)
        await until(lambda: lines_are_counted(service))

        (small_disk / "ballast").unlink()
        written = (small_disk / "log").stat().st_size
        await service.get("/health/live", headers={"X-Request-Id": "after-the-flood"})
        await until(lambda: "after-the-flood" in (small_disk / "log").read_text()[written:])
        assert (await service.get("/metrics")).status == 200


# ---------------------------------------------------------------- commands


def run(arguments: list[str], redirection: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    with started(arguments, environment, redirection) as process:
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


@pytest.mark.parametrize(
    "output",
    [pytest.param(name, marks=[] if name == "reader of both gone" else pytest.mark.soak) for name in OUTPUTS],
)
def test_a_database_is_migrated_whatever_becomes_of_the_output(cluster: Cluster, tmp_path: Path, output: str) -> None:
    with cluster.database(migrated=False) as empty:
        environment = {"DATABASE_ADMIN_URL": empty.admin_url, "DATA_DIR": str(tmp_path)}
        done = run(["prepare"], OUTPUTS[output], environment)
        assert done.returncode == 0, done.stderr
        assert empty.query("select count(*) > 0 from credits.packages") == [(True,)]
        assert len(KeyDirectory(tmp_path / "keys").entries()) == 1
        assert "Traceback" not in done.stderr
        psycopg.connect(empty.gateway_url).close()


def test_a_command_whose_output_is_lost_does_its_work_and_fails(database: Database, tmp_path: Path) -> None:
    environment = {
        "DATABASE_ADMIN_URL": database.admin_url, "DATA_DIR": str(tmp_path), "PASSWORD_PEPPER": PEPPER,
        "MANA_USER_PASSWORD": PASSWORD,
    }  # fmt: skip
    for arguments in (["keys", "generate"], ["keys", "rotate"], ["user", "create", "unheard@example.com"]):
        done = run(arguments, "> /dev/full", environment)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "error: standard output: No space left on device"
        assert "Traceback" not in done.stderr
    assert len(KeyDirectory(tmp_path / "keys").entries()) == 2
    assert database.query("select count(*) from auth.users where email = 'unheard@example.com'") == [(1,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["settings"],
        *(
            pytest.param(command, marks=pytest.mark.soak)
            for command in (["routes"], ["--help"], ["--version"], ["migrate", "status"])
        ),
    ],
)
def test_a_command_whose_output_is_lost_fails(database: Database, arguments: list[str]) -> None:
    environment = {"DATABASE_ADMIN_URL": database.admin_url}
    for redirection in ("> /dev/full", ">&-"):
        done = run(arguments, redirection, environment)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: standard output: ")
        assert "Traceback" not in done.stderr
    done = run(arguments, "2> /dev/full", environment)
    assert (done.returncode, bool(done.stdout)) == (0, True)
    done = run(arguments, "| sleep 0", environment)
    assert done.stderr.replace(_settings_are_missing(), "") == ""


def _settings_are_missing() -> str:
    return run(["settings"], "> /dev/null", {}).stderr


async def test_a_verdict_on_the_books_is_the_exit_code_even_if_nobody_can_read_why(database: Database) -> None:
    async with serving(database, "> /dev/null", {}) as (service, _):
        user = await service.new_session()
    change = "update credits.balances set free_credits_remaining = free_credits_remaining + %s where user_id = %s"
    database.query(change, 1, user.user_id)
    try:
        for redirection in ("> /dev/full", ">&-", "2> /dev/full", "> /dev/full 2>&1"):
            done = run(["ledger", "verify"], redirection, {"DATABASE_ADMIN_URL": database.admin_url})
            assert done.returncode == 3, redirection
    finally:
        database.query(change, -1, user.user_id)


@pytest.mark.parametrize(
    "redirection",
    ["2> /dev/full", *(pytest.param(one, marks=pytest.mark.soak) for one in ("2>&-", "> /dev/full 2>&1"))],
)
def test_workers_that_cannot_start_end_even_if_they_cannot_say_why(tmp_path: Path, redirection: str) -> None:
    """They are not started over and over."""
    environment = {
        "DATABASE_URL": "postgresql://mana_gateway@127.0.0.1:1/mana", "PASSWORD_PEPPER": PEPPER, "WORKERS": "2",
        "DATA_DIR": str(tmp_path), "PORT": "0",
    }  # fmt: skip
    assert run(["serve"], redirection, environment).returncode == 1
