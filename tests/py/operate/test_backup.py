"""Backups: taken, restored, checked; any second of the past; encrypted; and what goes wrong is one clear line.

One server with one repository, as in production: pgBackRest, the WAL archived by the production command, and a
passphrase. The tests go on from one another's backups; each says what it needs to be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql

from gateway.operate import backup, maintain, migrate
from gateway.operate.cli import main
from gateway.operate.interruptible import interruptible
from gateway.operate.local_postgres import LocalPostgres
from gateway.operate.postgres_processes import account_for
from gateway.operate.postgres_programs import binaries_for
from gateway.problems import OperatorError
from gateway.settings.maintenance import load_maintenance
from harness.databases import ODD_NAME, Archiving, Database
from harness.gateways import command_line
from harness.metrics import sample
from harness.places import ROOT
from harness.programs import mana

MARKER = "a sentence that nobody should find in a repository"


class Shop:
    """A user of the archived database, who spends."""

    def __init__(self, archiving: Archiving) -> None:
        self.archiving = archiving
        self.database = Database(archiving.server.url, archiving.server.url)
        rows = self.database.query(
            "select id from auth.register_user(p_email => 'ada@example.com', p_password_digest => 'digest')"
        )
        self.user_id = str(rows[0][0])

    def spend(self, description: str) -> None:
        with self.database.connect() as connection, connection.transaction():
            connection.execute("select auth.act_as(%s)", (self.user_id,))
            connection.execute("set local role mana_ledger")
            connection.execute(
                "select _credits.post_movements(array[row("
                "    %s, 'usage', 'usage', -1, 0, %s, 'tests', null, null, null, null"
                ")::credits.movement])",
                (self.user_id, description),
            )

    def mana(self, *arguments: str, **environment: str) -> Result:
        """`mana` in this process, which is quicker."""
        return CliRunner().invoke(main, arguments, env={**self.archiving.environment, **environment})

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`mana` as a process that goes on."""
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments],
            env={"PATH": os.environ["PATH"], **self.archiving.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def backups(self) -> list[str]:
        """The lines of `mana backup list`."""
        done = self.mana("backup", "list")
        assert done.exit_code == 0, done.stderr
        return done.stdout.splitlines()

    def now(self) -> datetime:
        moment: datetime = self.database.query("select clock_timestamp()")[0][0]
        return moment

    def archive(self) -> None:
        """Wait until everything so far is in the archive."""
        written = self.database.query("select pg_walfile_name(pg_switch_wal())")[0][0]
        wait(lambda: self.database.query("select last_archived_wal >= %s from pg_stat_archiver", written) == [(True,)])


def wait(true: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def assert_failed(done: Result, error: str) -> None:
    """One clear line, and perhaps a hint."""
    assert done.exit_code == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("- ")]
    assert re.fullmatch(f"error: {error}", lines[0]), done.stderr
    assert all(line.startswith("hint: ") for line in lines[1:]), done.stderr


def descriptions(database: Database, user_id: str) -> list[str]:
    rows = database.query("select description from credits.transactions where user_id = %s order by id", user_id)
    return [row[0] for row in rows]


def processes_of(directory: Path) -> list[str]:
    """The command lines that name something in a directory."""
    lines = [command_line(int(path.name)).decode(errors="replace") for path in Path("/proc").glob("[0-9]*")]
    return [line for line in lines if str(directory) in line]


def assert_nothing_is_left(shop: Shop) -> None:
    """Of scratch servers: no file, no process."""
    scratch = shop.archiving.directory / "data" / "scratch"
    assert [path.name for path in scratch.glob("*/*")] == ["lock"]
    assert processes_of(scratch) == []


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with Archiving(durable=False) as archiving:
        migrate.apply(archiving.server.url, lambda _: None)
        shop = Shop(archiving)
        shop.spend(MARKER)
        yield shop


@contextlib.contextmanager
def hostile(database: Database) -> Iterator[None]:
    """For a while each new session begins with settings under which no program of PostgreSQL's could work."""
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        target = sql.SQL("alter database {} ").format(sql.Identifier(connection.info.dbname))
        connection.execute("create role powerless")
        settings = {
            "statement_timeout": "1ms", "default_transaction_read_only": "on", "search_path": "auth",
            "standard_conforming_strings": "off", "bytea_output": "escape", "quote_all_identifiers": "on",
            "datestyle": "sql", "role": "powerless",
        }  # fmt: skip
        for name, value in settings.items():
            connection.execute(target + sql.SQL("set {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        try:
            yield
        finally:
            connection.execute(target + sql.SQL("reset all"))
            connection.execute("drop role powerless")


@pytest.fixture(scope="module")
def first(shop: Shop) -> subprocess.CompletedProcess[str]:
    """What `mana backup` said of the first one, of a database whose settings would break it."""
    with hostile(shop.database):
        return mana("backup", environment=shop.archiving.environment)


@pytest.fixture(scope="module")
def moment(shop: Shop, first: subprocess.CompletedProcess[str]) -> datetime:
    """One between two spends after the first backup, all of it in the archive."""
    finished = datetime.strptime(shop.backups()[0][:20], "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
    wait(lambda: shop.now() > finished + timedelta(seconds=1))
    shop.spend("before")
    moment = shop.now()
    shop.spend("after")
    shop.archive()
    return moment


@pytest.fixture(scope="module")
def latest(shop: Shop, moment: datetime) -> Path:
    """Restored as it was last, checked by `mana restore --check`, and at rest."""
    directory = shop.archiving.directory / "latest"
    done = shop.mana("restore", "--check", str(directory))
    assert done.exit_code == 0, done.stderr
    return directory


# ---------------------------------------------------------------- backup


def test_a_backup_is_restored_and_checked(shop: Shop, first: subprocess.CompletedProcess[str]) -> None:
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    steps = (
        r"- backup \S+F: \d+\.\d MB, \d+\.\d MB in the repository, in \d+\.\d s",
        r"- restored in \d+\.\d s",
        r"- recovered in \d+\.\d s",
        r"- pages and indexes are sound \(pg_amcheck, \d+\.\d s\)",
        r"- the ledger is sound \(\d+\.\d s\)",
    )
    for step, line in zip(steps, first.stderr.splitlines(), strict=True):
        assert re.fullmatch(step, line)
    (line,) = shop.backups()
    assert re.fullmatch(r"\S+ \S+Z  \d{8}-\d{6}F: .* in the repository, checked \S+ \S+Z", line)
    assert_nothing_is_left(shop)


def test_nothing_in_the_repository_can_be_read(shop: Shop, first: subprocess.CompletedProcess[str]) -> None:
    files = [path for path in shop.archiving.repository.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        assert content.startswith(b"Salted__"), f"{path.name} is not encrypted"
        assert MARKER.encode() not in content


def test_the_passphrase_is_on_no_command_line_and_in_no_log(shop: Shop, latest: Path) -> None:
    log = shop.archiving.server.directory / "server.log"
    for path in (log, latest / "postgresql.auto.conf"):
        assert shop.archiving.passphrase not in path.read_text()


# ---------------------------------------------------------------- restore


def test_any_second_can_be_restored(shop: Shop, moment: datetime) -> None:
    """Into the place of a new server, with a configuration of pgBackRest that has the passphrase itself."""
    directory = shop.archiving.directory / "other"
    other = LocalPostgres(directory, settings={"archive_mode": "off"}, database=ODD_NAME)
    directory.mkdir(mode=0o711)
    data = directory / "cluster" / "data"
    done = shop.mana(
        "restore", "--to", moment.isoformat(), str(data),
        PGBACKREST_CONFIG=str(shop.archiving.server_conf), BACKUP_PASSPHRASE="",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (directory / "password").write_text((shop.archiving.server.directory / "password").read_text())
    with other:
        restored = Database(other.url, other.url)
        wait(lambda: restored.query("select pg_is_in_recovery()") == [(False,)])
        assert descriptions(restored, shop.user_id)[-2:] == [MARKER, "before"]
        restored.assert_ledger_is_sound()
        restored.query("create table it_takes_writes ()")


def test_all_that_was_archived_can_be_restored(shop: Shop, latest: Path) -> None:
    pgbackrest = backup.PgBackRest.on(latest, "")

    async def last() -> list[str]:
        async with backup.started(pgbackrest, latest, shop.archiving.server.url, backup.KEPT) as url:
            return descriptions(Database(url, url), shop.user_id)

    # What the check wrote waits for the server that will be started here, to be archived.
    assert (latest / "pg_wal" / "archive_status" / "00000002.history.ready").exists()
    assert interruptible(last()) == descriptions(shop.database, shop.user_id)


def test_a_directory_that_is_not_empty_is_refused(
    shop: Shop, first: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("precious")
    assert_failed(shop.mana("restore", str(tmp_path)), f"{tmp_path} is not empty")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mine", "precious")]


@pytest.mark.parametrize(
    ("to", "error"),
    [
        (timedelta(days=-1), "the first backup ended at .*; no earlier moment can be restored"),
        (timedelta(days=1), ".* is in the future"),
    ],
)
def test_a_moment_that_cannot_be_restored_is_refused(
    shop: Shop, first: subprocess.CompletedProcess[str], to: timedelta, error: str
) -> None:
    directory = shop.archiving.directory / "never"
    assert_failed(shop.mana("restore", "--to", (shop.now() + to).isoformat(), str(directory)), error)
    assert not directory.exists()


def test_without_the_passphrase_nothing_opens(shop: Shop, first: subprocess.CompletedProcess[str]) -> None:
    directory = shop.archiving.directory / "never"
    another = "another passphrase, as long as it must be"
    for command, passphrase in (("backup",), another), (("backup", "list"), ""), (("restore", str(directory)), another):
        done = shop.mana(*command, BACKUP_PASSPHRASE=passphrase)
        assert_failed(done, "the repository was not made with this BACKUP_PASSPHRASE, or its files are damaged")
    assert not directory.exists()


def test_a_weak_passphrase_is_refused(shop: Shop) -> None:
    assert_failed(shop.mana("backup", BACKUP_PASSPHRASE="secret"), "BACKUP_PASSPHRASE is too weak: .*")


# ---------------------------------------------------------------- what the checks find


def test_a_damaged_page_is_found(shop: Shop, latest: Path) -> None:
    """In a restored copy, where the damage is that of a disk. The server has no checksums, so it is for pg_amcheck."""
    path = shop.database.query("select pg_relation_filepath('credits.transactions_pkey')")[0][0]
    with (latest / path).open("r+b") as file:
        file.seek(8192 + 4096)  # the first page is the index's own; in the second, entries grow from its end
        whole = file.read(4096)
        file.seek(8192 + 4096)
        file.write(bytes(byte ^ 0x55 for byte in whole))
    with pytest.raises(OperatorError, match=r"pg_amcheck: btree index \"my db/.+\.credits\.transactions_pkey\""):
        interruptible(backup.check(backup.PgBackRest.on(latest, ""), latest, shop.archiving.server.url, lambda _: None))


def test_books_that_do_not_balance_are_found_and_no_good_backup_goes(shop: Shop, latest: Path) -> None:
    shop.database.query("update credits.balances set free_credits_remaining = free_credits_remaining + 1")
    done = shop.mana("backup", BACKUP_KEEP="1")
    shop.database.query("update credits.balances set free_credits_remaining = free_credits_remaining - 1")
    assert_failed(
        done,
        rf"backup \S+F did not pass: the ledger is not sound: balance_differs_from_ledger of user {shop.user_id}",
    )
    assert ["not checked" in line for line in shop.backups()] == [False, True]


TABLES = ("credits.balances", "credits.transactions", "credits.ledger_entries", "credits.ledger_checks", "auth.users")


def test_a_backup_whose_counts_fell_does_not_pass(shop: Shop, latest: Path) -> None:
    """Everything of everybody is gone, which leaves the rest in agreement. The marks in DATA_DIR may be gone, too."""
    copies = {table: f"public.{table.replace('.', '_')}" for table in TABLES}
    shop.database.query("".join(f"create table {copy} as table {table};" for table, copy in copies.items()))
    shop.database.query("set session_replication_role = replica;" + "".join(f"delete from {t};" for t in TABLES))
    try:
        shop.database.assert_ledger_is_sound()
        lost = r"backup \S+F did not pass: the ledger has lost something: users fell to 0, there were 1; .* is gone"
        assert shop.mana("ledger", "verify").exit_code == 3
        shutil.rmtree(shop.archiving.directory / "data" / "ledger")
        assert_failed(shop.mana("backup"), lost)
        for _ in range(2):  # what is kept does not follow it down
            checked = check_ledger(shop)
            assert (checked.discrepancies, checked.fallen[0]) == (6, "users fell to 0, there were 1")
    finally:
        shop.database.query(
            "set session_replication_role = replica;"
            + "".join(f"insert into {table} table {copy}; drop table {copy};" for table, copy in copies.items())
        )
    assert check_ledger(shop).discrepancies == 0
    short = check_ledger(shop)
    assert (short.discrepancies, short.full, short.totals) == (0, False, []), "it reads what is new alone"


def check_ledger(shop: Shop) -> maintain.Checked:
    """What `mana maintain` does every LEDGER_EVERY."""
    with mock.patch.dict(os.environ, shop.archiving.environment):
        return asyncio.run(maintain.check_ledger(shop.database.admin_url, load_maintenance(os.environ)))


# ---------------------------------------------------------------- interruptions


@pytest.fixture(scope="module")
def killed(shop: Shop, latest: Path) -> list[Result]:
    """A backup was killed while it copied; what others said that were started meanwhile."""
    running = shop.start("backup")
    pgbackrest: list[int] = []

    def copies() -> bool:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        pgbackrest[:] = [int(pid) for pid in children if command_line(int(pid)).endswith(b"\0backup\0")]
        connected = "select pid from pg_stat_activity where starts_with(application_name, 'pgBackRest [backup]')"
        return bool(pgbackrest) and shop.database.query(connected) != []

    wait(copies)
    os.killpg(pgbackrest[0], signal.SIGSTOP)
    # From here, and from another place with the same repository.
    elsewhere = str(shop.archiving.directory / "elsewhere")
    refused = [shop.mana("backup"), shop.mana("backup", DATA_DIR=elsewhere)]
    running.kill()
    os.killpg(pgbackrest[0], signal.SIGKILL)
    running.communicate()
    # What a check leaves that was killed.
    junk = shop.archiving.directory / "data" / "scratch" / "cluster" / "data"
    junk.mkdir()
    (junk / "PG_VERSION").write_text("1\n")
    return refused


def test_there_is_one_backup_at_a_time(killed: list[Result]) -> None:
    for refused in killed:
        assert_failed(refused, "another backup is running")


# ---------------------------------------------------------------- on a schedule


def test_maintain_backs_up_checks_and_counts(shop: Shop, killed: list[Result]) -> None:
    """After a backup that was killed, which does the next one no harm."""
    lock = shop.archiving.directory / "data" / "scratch" / "cluster" / "lock"
    written = shop.database.query("select pg_current_wal_flush_lsn()")[0][0]
    shop.database.query("create extension pg_walinspect")
    heartbeats = (
        "select description from pg_get_wal_records_info(%s, pg_current_wal_flush_lsn())"
        " where resource_manager = 'LogicalMessage'"
    )
    oldest = shop.backups()[0]
    began = time.time()
    holder = subprocess.Popen(["flock", lock, "sleep", "600"], start_new_session=True)
    wait(lambda: subprocess.run(["flock", "-n", lock, "true"], check=False).returncode != 0)
    process = shop.start(
        "maintain", BACKUP_EVERY="1s", LEDGER_EVERY="1s", MAINTENANCE_PORT="0", BACKUP_KEEP="1"
    )  # fmt: skip
    try:
        assert process.stdout
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}/metrics"

        def value(name: str, **labels: str) -> float:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return sample(answer.read().decode(), name, **labels)

        # A commit now and then, so that a quiet time can be restored to.
        wait(lambda: shop.database.query(heartbeats, written))
        assert shop.database.query(heartbeats, written)[0][0].startswith("transactional")

        # An attempt that fails is counted and tried again.
        wait(lambda: value("mana_backup_failures_total") >= 1)
        assert value("mana_backup_check_last_success_timestamp_seconds") < began, "it knows of the one before"
        assert value("mana_backup_last_success_timestamp_seconds") > began - 3600
        os.killpg(holder.pid, signal.SIGKILL)
        wait(lambda: value("mana_backup_check_last_success_timestamp_seconds") >= int(began))
        assert value("mana_backup_last_success_timestamp_seconds") >= int(began)
        assert value("mana_backup_last_duration_seconds") > 0
        assert value("mana_backup_size_bytes") > 1_000_000
        assert oldest not in shop.backups(), "one is to be kept"

        wait(lambda: value("mana_ledger_last_check_timestamp_seconds") >= began)
        assert value("mana_ledger_discrepancies") == 0
        assert value("mana_ledger_check_seconds") > 0
        for account, total in shop.database.query("select account::text, total from credits.account_totals"):
            assert value("mana_ledger_account_total", account=account) == total != 0
        shop.database.query("update credits.balances set balance = balance + 1")
        wait(lambda: value("mana_ledger_discrepancies") == 1)
        shop.database.query("update credits.balances set balance = balance - 1")
        wait(lambda: value("mana_ledger_discrepancies") == 0)
        assert value("mana_ledger_last_full_check_timestamp_seconds") >= int(began)

        # It has begun the next one: in the middle of it, it stops at once, and nothing is left.
        wait(lambda: processes_of(shop.archiving.directory / "data"))
        process.terminate()
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
    assert process.returncode == 0, output
    assert_nothing_is_left(shop)
    events = [json.loads(line) for line in output.splitlines()]
    failed = [event["error"] for event in events if event["event"] == "backup_failed"]
    assert set(failed) == {"another backup is running"}
    for secret in (shop.archiving.passphrase, (shop.archiving.server.directory / "password").read_text()):
        assert secret not in output


# ---------------------------------------------------------------- files


def test_the_production_configuration_is_one_that_postgresql_takes(shop: Shop) -> None:
    data = (shop.archiving.server.directory / "cluster" / "data").resolve()
    command = [str(binaries_for(data) / "postgres"), "-D", str(data)]
    conf = shop.archiving.directory / "production"
    conf.mkdir(mode=0o755)
    for name in ("mana.conf", "production.conf"):
        text = (ROOT / "postgres" / name).read_text()
        if int((data / "PG_VERSION").read_text()) < 16:
            text = re.sub("^reserved_connections .*$", "", text, flags=re.MULTILINE)
        (conf / name).write_text(text)
    for name, value in {
        "archive_mode": "on",
        "archive_timeout": "60",
        "password_encryption": "scram-sha-256",
        "log_parameter_max_length": "0",
        "hba_file": "/etc/postgresql/pg_hba.conf",
    }.items():
        done = account_for(data).run([*command, "-c", f"config_file={conf}/production.conf", "-C", name])
        assert (done.returncode, done.stdout.strip()) == (0, value), done.stderr
