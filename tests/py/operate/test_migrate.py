"""Deploying: every way to the newest schema ends at the same schema, and no accident is half of one.

Schemas are compared as pg_dump prints them, with owners, privileges and the database's settings,
and with what the cluster says of our roles.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from click.testing import CliRunner

from gateway.operate import migrate
from gateway.operate.cli import main
from gateway.problems import OperatorError
from harness import programs
from harness.clients import Service
from harness.databases import Cluster, Database, start_server
from harness.doors import backend_login
from harness.gateways import Gateway

MIGRATIONS = sorted(
    path for path in (migrate.SQL / "migrations").glob("*.sql") if not path.name.endswith(".rollback.sql")
)
IDS = [path.stem for path in MIGRATIONS]
FIRST, *_, LAST = IDS
PASSWORD_COST = Path("functions/_auth/passwords/password_cost.sql")

# What the database at a migration can hold. The keys are the migrations that make the tables.
ROWS = {
    "0002.auth-tables": """
        insert into auth.users (id, email, created_at, updated_at)
        values ('00000000-0000-7000-8000-000000000001', 'ada@example.com', now(), now());
        insert into auth.sessions
            (user_id, id, refresh_secret, created_at, last_activity_at, expires_at)
        select id, id, decode(repeat('00', 32), 'hex'), now(), now(), now() from auth.users
    """,
    "0003.credits-tables": """
        insert into credits.balances
            (user_id, balance, free_credits_remaining, total_earned, version,
             last_daily_reset_at, created_at, updated_at)
        select id, 0, 7, 7, 1, '2026-01-01Z', '2026-01-01Z', '2026-01-01 00:00:00.000001Z' from auth.users;
        insert into credits.transactions
            (user_id, id, type, amount, balance_before, balance_after, free_after, total_spent_after, version,
             description, created_at, completed_at)
        select user_id, '019b76da-a800-7004-8000-000000000001', 'adjustment', 7, 0, 7, 7, 0, 1,
               'a gift', updated_at, updated_at
          from credits.balances;
        insert into credits.ledger_entries
        select user_id, id, 1, 'adjustments', 'free', 7 from credits.transactions
    """,
}


def sampled(values: Sequence[object]) -> list[object]:
    """The second, and one half way; the long form has all."""
    in_gate = {1, len(values) // 2}
    return [
        value if index in in_gate else pytest.param(value, marks=pytest.mark.soak) for index, value in enumerate(values)
    ]


def quietly(_: str) -> None:
    pass


def apply(database: Database, directory: Path = migrate.SQL, upto: str | None = None) -> None:
    migrate.apply(database.admin_url, quietly, directory, upto)


def rollback(database: Database, count: int | None = 1, directory: Path = migrate.SQL) -> None:
    migrate.rollback(database.admin_url, quietly, directory, count)


def mana(database: Database, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the command line as an administrator of this database; returns the exit code and what it said."""
    done = programs.mana(*arguments, environment={"DATABASE_ADMIN_URL": database.admin_url, **environment})
    return done.returncode, done.stdout + done.stderr


def deploy_at_once(*databases: Database) -> None:
    with ThreadPoolExecutor() as threads:
        for code, output in threads.map(lambda database: mana(database, "migrate", "apply"), databases):
            assert code == 0, output


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it has said; a process that hangs is a failure."""
    try:
        output, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"does not end: {process.communicate()[0]}") from None
    return process.returncode, output


def schema(cluster: Cluster, database: Database) -> str:
    """Everything there is in a database but the rows, and the cluster's roles."""
    dump = cluster.dump(database.name, "--schema-only", "--create")
    # A new one in each dump, against a dump that smuggles commands into psql.
    dump = re.sub(r"^\\(un)?restrict .*\n", "", dump, flags=re.MULTILINE)
    roles = database.query(
        "select rolname, rolcanlogin, rolinherit, rolbypassrls, rolconfig,"
        " array(select roleid::regrole::text from pg_auth_members where member = r.oid order by 1)"
        " from pg_roles as r where rolname like 'mana\\_%%' order by 1"
    )
    return dump.replace(database.name, "mana") + "\n".join(map(str, roles))


def left_over(database: Database) -> list[tuple[str, ...]]:
    """Schemas, extensions and policies of ours, and what is in those schemas."""
    return database.query(
        """
        with ours as (
            select oid, nspname from pg_namespace where nspname = any(%s) or nspname = 'extensions'
        )
        select 'schema', nspname from ours
        union all
        select 'extension', extname from pg_extension where extname <> 'plpgsql'
        union all
        select 'policy', polname from pg_policy
        union all
        select 'relation', oid::regclass::text from pg_class
         where relnamespace in (select oid from ours)
        union all
        select 'function', oid::regprocedure::text from pg_proc
         where pronamespace in (select oid from ours)
        """,
        list(migrate.SCHEMAS),
    )


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


@pytest.fixture(scope="module")
def bare_cluster() -> Iterator[Cluster]:
    """A server that has never heard of us, with PostgreSQL's own settings in the place of ours."""
    unfit = {"log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "-1"}
    with start_server({**unfit, "log_error_verbosity": "default"}) as running:
        yield running


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[Database]:
    with cluster.database(migrated=False) as created:
        yield created


@pytest.fixture(scope="module")
def pristine(cluster: Cluster) -> Iterator[Database]:
    """A fresh install to copy."""
    with cluster.database(migrated=False) as created:
        apply(created)
        yield created


@pytest.fixture(scope="module")
def fresh(cluster: Cluster, pristine: Database) -> str:
    """The schema of a fresh install."""
    return schema(cluster, pristine)


@pytest.fixture
def deployed(cluster: Cluster, pristine: Database) -> Iterator[Database]:
    """A fresh install of a test's own."""
    with cluster.copy_of(pristine) as created:
        yield created


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of sql/ to change."""
    return Path(shutil.copytree(migrate.SQL, tmp_path / "sql"))


@contextlib.contextmanager
def held(database: Database, statement: str) -> Iterator[None]:
    """A transaction of somebody else that has done this and stays open."""
    with psycopg.connect(database.admin_url) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


# ---------------------------------------------------------------- every way leads to one schema


@pytest.mark.parametrize("start", sampled(IDS))
def test_an_upgrade_from_any_migration_ends_where_a_fresh_install_does(
    cluster: Cluster, empty: Database, fresh: str, start: str
) -> None:
    apply(empty, upto=start)
    assert [m.applied for m in migrate.status(empty.admin_url)] == [name <= start for name in IDS]
    filled = [rows for migration, rows in ROWS.items() if migration <= start]
    for rows in filled:
        empty.query(rows)

    apply(empty)

    assert schema(cluster, empty) == fresh
    assert all(m.applied for m in migrate.status(empty.admin_url))
    if filled:
        assert empty.query("select email from auth.users") == [("ada@example.com",)]
    if len(filled) > 1:
        empty.assert_ledger_is_sound()


def test_a_new_service_has_no_account_and_no_password(deployed: Database) -> None:
    assert deployed.query("select count(*) from auth.users") == [(0,)]
    assert deployed.query("select _auth.password_cost()") == [(12,)], "and bcrypt costs what it should"


def test_applying_twice_changes_nothing(cluster: Cluster, empty: Database, fresh: str) -> None:
    apply(empty)
    apply(empty)
    assert schema(cluster, empty) == fresh


def test_a_full_rollback_leaves_nothing_and_the_next_install_is_fresh(
    cluster: Cluster, deployed: Database, fresh: str
) -> None:
    for rows in ROWS.values():
        deployed.query(rows)

    rollback(deployed, count=None)

    assert left_over(deployed) == []
    assert not any(m.applied for m in migrate.status(deployed.admin_url))
    apply(deployed)
    assert schema(cluster, deployed) == fresh


@pytest.mark.parametrize("count", sampled(range(1, len(IDS))))
def test_a_rollback_of_some_migrations_is_undone_by_apply(
    cluster: Cluster, deployed: Database, fresh: str, count: int
) -> None:
    rollback(deployed, count)
    assert [m.applied for m in migrate.status(deployed.admin_url)] == [True] * (len(IDS) - count) + [False] * count
    apply(deployed)
    assert schema(cluster, deployed) == fresh


def test_a_rollback_keeps_the_rows_of_earlier_migrations(deployed: Database) -> None:
    deployed.query(ROWS["0002.auth-tables"])
    rollback(deployed, len([name for name in IDS if name > "0002.auth-tables"]))
    assert deployed.query("select email from auth.users") == [("ada@example.com",)]


def test_a_rollback_of_nothing_changes_nothing(cluster: Cluster, empty: Database) -> None:
    migrate.status(empty.admin_url)
    before = schema(cluster, empty)
    rollback(empty, count=None)
    assert schema(cluster, empty) == before


def test_a_rollback_leaves_the_other_databases_of_the_server_alone(cluster: Cluster, empty: Database) -> None:
    with cluster.database() as other:
        before = schema(cluster, other)
        apply(empty)
        rollback(empty, count=None)
        assert schema(cluster, other) == before
        psycopg.connect(other.gateway_url).close()


def test_the_roles_go_with_the_last_database_that_uses_them(bare_cluster: Cluster) -> None:
    with bare_cluster.database(migrated=False) as first, bare_cluster.database(migrated=False) as second:
        ours = "select count(*) from pg_roles where rolname like 'mana\\_%%'"
        apply(first)
        apply(second)
        rollback(first, count=None)
        assert first.query(ours) == [(len(migrate.ROLES),)]
        rollback(second, count=None)
        assert first.query(ours) == [(0,)]


def test_stopping_at_a_migration_that_is_there_applies_nothing_more(empty: Database) -> None:
    apply(empty, upto=FIRST)
    apply(empty, upto=FIRST)
    assert [m.applied for m in migrate.status(empty.admin_url)] == [name == FIRST for name in IDS]


# ---------------------------------------------------------------- the files


@pytest.mark.parametrize("path", MIGRATIONS, ids=IDS)
def test_a_migration_can_be_taken_back_and_never_waits_long_for_a_lock(path: Path) -> None:
    back = path.with_name(f"{path.stem}.rollback.sql")
    assert back.exists()
    for file in (path, back):
        text = file.read_text()
        if text.startswith("-- transactional: false\n"):  # locks that nobody else waits behind
            statements = re.sub("--.*", "", text).split(";")[:-1]
            assert all(re.search(r"\b(create|drop)( unique)? index concurrently\b", each) for each in statements), file
        else:
            assert re.search(r"^set local lock_timeout = '\d+m?s';$", text, re.MULTILINE), file


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [int(name.partition(".")[0]) for name in IDS] == list(range(1, len(IDS) + 1))


@pytest.mark.parametrize("kind", ["functions", "policies"])
def test_migrations_do_not_define_what_is_written_at_every_deploy(kind: str) -> None:
    forbidden = {"functions": "create (or replace )?function", "policies": "create policy|grant .* on "}[kind]
    statements = {path.name: re.sub("--.*", "", path.read_text()) for path in MIGRATIONS}
    # 0009 gives the functions of the release before what until then only the gateway's role might do.
    excepted = {"functions": [], "policies": ["0009.pre.identity.sql"]}[kind]
    assert [name for name, text in statements.items() if re.search(forbidden, text)] == excepted


def test_an_edited_migration_is_refused(cluster: Cluster, deployed: Database, copy: Path, fresh: str) -> None:
    (copy / "functions" / "api" / "health" / "health.sql").unlink()
    for name in (FIRST, LAST):
        file = copy / "migrations" / f"{name}.sql"
        original = file.read_text()
        file.write_text(original + "\n-- one more line\n")
        for attempt in (
            lambda: apply(deployed, copy),
            lambda: rollback(deployed, None, copy),
            lambda: migrate.status(deployed.admin_url, copy),
        ):
            with pytest.raises(OperatorError, match=f"^migration {re.escape(name)} was edited after it was applied$"):
                attempt()
        file.write_text(original)
    assert schema(cluster, deployed) == fresh
    apply(deployed, copy)


def test_a_missing_migration_may_still_be_edited(empty: Database, copy: Path) -> None:
    apply(empty, copy, upto=FIRST)
    edit(copy / "migrations" / f"{LAST}.sql", lambda text: text + "\n-- one more line\n")
    apply(empty, copy)


def test_an_error_in_a_migration_is_named_and_leaves_nothing_of_it(
    cluster: Cluster, empty: Database, copy: Path, fresh: str
) -> None:
    broken = copy / "migrations" / f"{LAST}.sql"
    edit(broken, lambda text: text + "\nselect 1 / 0;\n")
    with pytest.raises(OperatorError, match=rf"^{re.escape(LAST)}: division by zero"):
        apply(empty, copy)
    late = {name for name in IDS if ".post." in name}  # they come after all others
    assert [m.applied for m in migrate.status(empty.admin_url)] == [name not in {LAST, *late} for name in IDS]
    apply(empty)
    apply(empty)
    assert schema(cluster, empty) == fresh


# ---------------------------------------------------------------- functions and policies


def test_a_function_without_a_file_is_dropped_once_nobody_calls_it(
    cluster: Cluster, empty: Database, copy: Path, fresh: str
) -> None:
    (copy / "functions" / "credits" / "packages" / "extra.sql").write_text(
        "create or replace function credits.extra(p_a int, p_b text[]) returns int language sql as 'select 1';"
        "grant execute on function credits.extra to mana_backend;"
    )
    apply(empty, copy)
    apply(empty)
    with psycopg.connect(empty.admin_url) as connection:
        connection.execute("set role mana_backend")
        assert connection.execute("select credits.extra(1, null)").fetchall() == [(1,)]
    apply(empty)
    assert schema(cluster, empty) == fresh


def test_a_deleted_function_file_takes_its_function_with_it(deployed: Database, copy: Path) -> None:
    (copy / "functions" / "credits" / "packages" / "seed_packages.sql").unlink()
    apply(deployed, copy)
    apply(deployed, copy)
    assert deployed.query("select to_regprocedure('credits.seed_packages()')") == [(None,)]


@pytest.mark.soak  # an upgrade from the release before has such functions
def test_a_function_may_return_another_type(cluster: Cluster, empty: Database, copy: Path, fresh: str) -> None:
    edit(
        copy / "functions" / "credits" / "packages" / "seed_packages.sql",
        lambda text: text.replace("returns int\n", "returns bigint\n"),
    )
    for directory in (copy, migrate.SQL, migrate.SQL):
        apply(empty, directory)
    assert schema(cluster, empty) == fresh


def write_extra(directory: Path, parameters: str, answer: str) -> None:
    """A function of the API that returns this text."""
    signature = "api.extra({})".format(re.sub(" default [^,]+", "", parameters))
    (directory / "functions" / "api" / "health" / "extra.sql").write_text(
        f"create or replace function api.extra({parameters}) returns text language sql as $$ select {answer} $$;\n"
        f"revoke all on function {signature} from public; grant execute on function {signature} to mana_gateway;"
    )


@pytest.mark.soak  # an upgrade from the release before has such a function
def test_a_function_that_takes_more_serves_the_calls_of_the_release_before(
    cluster: Cluster, empty: Database, copy: Path, fresh: str
) -> None:
    write_extra(copy, "p_a int", "'one'")
    apply(empty, copy)
    with psycopg.connect(empty.gateway_url, autocommit=True) as gateway:

        def call() -> list[tuple[str]]:
            return gateway.execute("select api.extra(p_a => 1)", prepare=True).fetchall()

        assert call() == [("one",)]
        write_extra(copy, "p_a int, p_b int default 2", "p_b::text")
        apply(empty, copy)
        assert call() == [("2",)]
        apply(empty, copy)
        assert call() == [("2",)]
    assert empty.query(
        "select oid::regprocedure::text from pg_proc"
        " where pronamespace = 'api'::regnamespace and proname like '%%extra%%'"
    ) == [("api.extra(integer,integer)",)]
    apply(empty)
    apply(empty)
    assert schema(cluster, empty) == fresh


@pytest.mark.parametrize(
    "parameters", ["p_a text, p_b int default 2", "p_c int, p_b int default 2", "p_a int, p_b int"]
)
def test_a_function_that_takes_something_else_stays_beside_the_former(
    empty: Database, copy: Path, parameters: str
) -> None:
    write_extra(copy, "p_a int", "'one'")
    apply(empty, copy)
    write_extra(copy, parameters, "'other'")
    apply(empty, copy)
    with psycopg.connect(empty.gateway_url) as gateway:
        assert gateway.execute("select api.extra(p_a => 1)").fetchall() == [("one",)]


def test_a_call_that_runs_while_its_function_gets_another_type_ends_well(empty: Database, copy: Path) -> None:
    file = copy / "functions" / "credits" / "packages" / "extra.sql"
    file.write_text(
        "create or replace function credits.extra(p_code text default 'a') returns auth.caller language plpgsql as $$\n"
        "begin perform pg_advisory_xact_lock(7); return (null::uuid, p_code); end $$;\n"
    )
    apply(empty, copy)
    with empty.connect() as holder, empty.connect() as caller, ThreadPoolExecutor() as threads:
        holder.execute("select pg_advisory_lock(7)")
        call = threads.submit(lambda: caller.execute("select code from credits.extra()").fetchall())
        while not empty.query("select 1 from pg_locks where objid = 7 and locktype = 'advisory' and not granted"):
            assert not call.done()
        edit(file, lambda text: text.replace("auth.caller", "base.refusal"))
        apply(empty, copy)
        holder.execute("select pg_advisory_unlock(7)")
        assert call.result(10) == [("a",)]
    apply(empty, copy)
    assert empty.query("select proname from pg_proc where proname like '%%extra' or proname like '%%extra\\_%%'") == [
        ("extra",)
    ]


def test_a_changed_function_is_replaced(cluster: Cluster, deployed: Database, copy: Path, fresh: str) -> None:
    edit(copy / PASSWORD_COST, lambda text: text.replace("select 12", "select 4"))
    apply(deployed, copy)
    assert deployed.query("select _auth.password_cost()") == [(4,)]
    apply(deployed)
    assert schema(cluster, deployed) == fresh


BROKEN = {
    "functions/credits/spending/use_credits.sql": ("language plpgsql", "language plpgsqll"),
    "functions/credits/ledger/verify_ledger.sql": ("", "select 1 / 0;\n"),
    "policies/credits/transactions.sql": ("to mana_ledger", "to nobody_at_all"),
    "policies/schemas.sql": ("", "this is no SQL;\n"),
}


@pytest.mark.parametrize("file", BROKEN)
def test_a_broken_file_is_named_and_leaves_everything_as_it_was(
    cluster: Cluster, deployed: Database, copy: Path, fresh: str, file: str
) -> None:
    edit(copy / file, lambda text: text.replace(*BROKEN[file], 1))
    edit(copy / PASSWORD_COST, lambda text: text.replace("select 12", "select 4"))
    (copy / "functions" / "credits" / "packages" / "seed_packages.sql").unlink()

    with pytest.raises(OperatorError, match=re.escape(file)):
        apply(deployed, copy)

    assert schema(cluster, deployed) == fresh


@pytest.mark.soak  # fresh installs are compared in all else
def test_what_a_release_no_longer_grants_is_gone_after_its_deploy(
    cluster: Cluster, empty: Database, copy: Path, fresh: str
) -> None:
    for file, more in (
        (
            "functions/credits/ledger/verify_ledger.sql",
            "grant execute on function credits.verify_ledger to mana_gateway;",
        ),
        ("policies/auth/users.sql", "grant select on auth.users to mana_ledger;"),
        ("policies/auth/users.sql", "grant update (email) on auth.users to mana_auth;"),
        ("policies/auth/users.sql", 'create policy "all of it" on auth.users for all to mana_auth using (true);'),
        ("policies/credits/usage_stats.sql", "grant select on credits.usage_stats to mana_backend;"),
        ("policies/schemas.sql", "grant create on schema auth to mana_backend;"),
        ("policies/database.sql", f"grant temporary on database {empty.name} to mana_ledger;"),
    ):
        with (copy / file).open("a") as opened:
            opened.write(f"\n{more}\n")
    apply(empty, copy)
    assert len(set(schema(cluster, empty).splitlines()) - set(fresh.splitlines())) >= 7

    apply(empty)

    assert schema(cluster, empty) == fresh


# ---------------------------------------------------------------- several at once, and accidents


def test_two_deploys_at_once_both_succeed(cluster: Cluster, empty: Database, fresh: str) -> None:
    deploy_at_once(empty, empty)
    assert schema(cluster, empty) == fresh


@pytest.mark.parametrize("repeated", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_two_databases_of_a_new_server_can_be_deployed_at_once(bare_cluster: Cluster, repeated: int) -> None:
    for _ in range(repeated):
        with bare_cluster.database(migrated=False) as first, bare_cluster.database(migrated=False) as second:
            deploy_at_once(first, second)
            for database in (first, second):
                rollback(database, count=None)


_APPLY = """
import os, signal, sys
from pathlib import Path
import psycopg
from gateway.operate import migrate
from gateway.operate.cli import main

execute, left = psycopg.Cursor.execute, int(sys.argv[3])

def counted(*arguments, **named):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(*arguments, **named)

psycopg.Cursor.execute = counted
migrate.apply(sys.argv[1], lambda _: None, Path(sys.argv[2]))
"""


def apply_in_process(
    database: Database, directory: Path = migrate.SQL, killed_at: int | None = None
) -> subprocess.Popen[str]:
    """A deploy to kill, or one that dies before its statement of this number."""
    return subprocess.Popen(
        [sys.executable, "-c", _APPLY, database.admin_url, str(directory), str(killed_at or 0)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("repeated", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_a_killed_deploy_can_be_repeated(cluster: Cluster, fresh: str, repeated: int) -> None:
    moments = random.Random(20)
    for _ in range(repeated):
        with cluster.database(migrated=False) as database:
            for _ in range(2):  # one has 800 statements, and one that finds its migrations done 650
                assert end_of(apply_in_process(database, killed_at=moments.randint(1, 500))) == (-signal.SIGKILL, "")
            apply(database)
            assert schema(cluster, database) == fresh


def test_a_first_deploy_that_was_killed_while_yoyo_had_its_own_lock_can_be_repeated(
    cluster: Cluster, empty: Database, fresh: str
) -> None:
    """Yoyo locks with a row, which outlives the process that wrote it."""
    empty.query(
        """
        create schema deploy;
        create table deploy.yoyo_lock (locked int default 1, ctime timestamp, pid int not null, primary key (locked));
        insert into deploy.yoyo_lock values (1, now(), 1)
        """
    )
    apply(empty)
    assert schema(cluster, empty) == fresh


def test_a_reader_that_has_no_limits_gets_some_and_keeps_its_own(database: Database) -> None:
    plain, chosen = ("reader_without_limits", "reader_with_limits")
    database.query(f"create role {plain} login in role mana_reader")
    database.query(f"create role {chosen} login connection limit 2 in role mana_reader")
    database.query(f"alter role {chosen} set statement_timeout = '1h'")
    try:
        migrate.write_database_settings(database.admin_url)
        found = {
            name: (limit, sorted(settings))
            for name, limit, settings in database.query(
                "select rolname, rolconnlimit, setconfig from pg_roles join pg_db_role_setting on setrole = oid"
                " where rolname = any(%s)", [plain, chosen],
            )
        }  # fmt: skip
    finally:
        database.query(f"drop role {plain}, {chosen}")
    rest = ["idle_in_transaction_session_timeout=1min", "statement_timeout=5min", "temp_file_limit=1GB"]
    assert found[plain] == (5, rest)
    assert found[chosen] == (2, [rest[0], "statement_timeout=1h", rest[2]])


def test_a_client_does_not_stop_a_deploy(database: Database) -> None:
    """Neither by the lock, nor by its name, nor by a number, which backends lock for themselves."""
    with backend_login(database) as url, psycopg.connect(url, autocommit=True) as client:
        client.execute("set application_name = 'mana migrate'")
        client.execute("select pg_advisory_lock(%s)", (migrate.FORMER_LOCK,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege), client.transaction():
            client.execute("lock table deploy.running in access share mode")
        began = time.monotonic()
        migrate.status(database.admin_url)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "statement",
    [
        "begin; lock table deploy.running in exclusive mode",
        "set application_name = 'mana migrate'",
        f"select pg_advisory_lock({migrate.FORMER_LOCK})",
    ],
    ids=["is at work", "was killed and is still at work", "is of release 0.1"],
)
def test_a_deploy_waits_for_another_one_and_gives_up(
    database: Database, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr(migrate, "OTHER_DEPLOY_AWAITED_FOR", 0.3)
    migrate.status(database.admin_url)
    with database.connect() as other:
        other.execute(statement.encode())
        with pytest.raises(OperatorError, match="another deploy of this database is still running"):
            migrate.status(database.admin_url)
    monkeypatch.undo()
    migrate.status(database.admin_url)


@pytest.mark.parametrize(
    "file",
    [pytest.param(f"migrations/{LAST}.sql", marks=pytest.mark.soak), "functions/base/clock/clock.sql"],
)
def test_a_deploy_waits_for_what_a_killed_one_still_has_running(
    cluster: Cluster, empty: Database, copy: Path, fresh: str, file: str
) -> None:
    """The server notices that its client is gone only when the statement is done."""
    edit(copy / file, lambda text: f"{text}\nselect pg_sleep(1);\n")
    process = apply_in_process(empty, copy)
    asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    while empty.query(asleep) == [(0,)]:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    end_of(process)

    apply(empty, copy)

    assert schema(cluster, empty) == fresh


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy that waits for no table longer than a moment."""
    monkeypatch.setattr(migrate, "TABLES_AWAITED_FOR", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_migration_that_gets_no_lock_gives_up_and_can_be_repeated(
    cluster: Cluster, empty: Database, fresh: str
) -> None:
    apply(empty, upto="0002.auth-tables")
    with held(empty, "lock auth.users in row exclusive mode"):
        begin = time.monotonic()
        done = CliRunner().invoke(main, ["migrate", "apply"], env={"DATABASE_ADMIN_URL": empty.admin_url})
        assert time.monotonic() - begin < 20
    assert done.exit_code == 1
    assert "error: 0003.credits-tables: a table is in use and could not be locked\n" in done.output
    assert "Traceback" not in done.output
    assert [m.applied for m in migrate.status(empty.admin_url)] == [name <= "0002.auth-tables" for name in IDS]
    apply(empty)
    assert schema(cluster, empty) == fresh


@pytest.mark.usefixtures("impatient")
def test_policies_that_get_no_lock_give_up_and_stay_as_they_were(
    cluster: Cluster, deployed: Database, copy: Path, fresh: str
) -> None:
    edit(copy / "policies" / "credits" / "transactions.sql", lambda text: text.replace("the ledger", "all ledger"))
    with (
        held(deployed, "select from credits.transactions"),
        pytest.raises(OperatorError, match="a table is in use and could not be locked"),
    ):
        apply(deployed, copy)
    assert schema(cluster, deployed) == fresh
    apply(deployed, copy)
    assert schema(cluster, deployed) != fresh


def test_tables_that_are_as_they_should_be_are_not_locked(cluster: Cluster, deployed: Database, fresh: str) -> None:
    tables = deployed.query("select oid::regclass::text from pg_class where relkind = 'r' and relacl is not null")
    with held(deployed, "".join(f"lock table {name} in access share mode;" for (name,) in tables if "." in name)):
        apply(deployed)
    assert schema(cluster, deployed) == fresh


BY_HAND = (
    "alter table auth.users disable row level security",
    "alter table auth.sessions no force row level security",
    'drop policy "the auditor reads every row" on credits.balances',
    'alter policy "the auditor reads every row" on credits.transactions using (false)',
    'alter policy "the auditor reads every row" on credits.ledger_entries to mana_reader',
    "create policy more on credits.balances to mana_reader using (true)",
    "revoke insert on credits.balances from mana_ledger",
    "revoke update (version) on credits.balances from mana_ledger",
    "grant update (user_id) on credits.balances to mana_ledger",
    "alter view credits.usage_stats owner to mana_owner",
    "grant select (email) on auth.users to pg_monitor",
    "grant usage on schema auth to public",
    "grant execute on function credits.verify_ledger to pg_monitor with grant option",
    "alter function credits.verify_ledger security invoker",
    "alter function credits.verify_ledger owner to mana_owner",
    "create function credits.more() returns int language sql as 'select 1'",
)


def test_what_was_changed_by_hand_is_put_right(cluster: Cluster, deployed: Database, fresh: str) -> None:
    for change in BY_HAND:
        deployed.query(change)
    changed = set(schema(cluster, deployed).splitlines()) ^ set(fresh.splitlines())
    assert len(changed) >= len(BY_HAND)
    apply(deployed)
    assert schema(cluster, deployed) == fresh


def test_what_a_deploy_cannot_put_right_is_named(deployed: Database) -> None:
    deployed.query(
        """
        alter table credits.balances drop constraint balances_free_credits_remaining_check;
        alter table credits.balances alter column version drop not null;
        alter table credits.balances disable trigger all;
        alter table credits.packages owner to postgres;
        create trigger more before insert on credits.transactions
            for each row execute function suppress_redundant_updates_trigger();
        create table public.child () inherits (auth.users);
        create rule more as on insert to auth.accounts do instead nothing;
        create type credits.more as enum ();
        alter type auth.user_role add value 'more';
        drop index credits.transactions_one_per_key_of_an_app;
        create index faster on credits.transactions (amount);
        """
    )
    try:
        deployed.query("grant mana_owner to mana_reader")
        with pytest.raises(OperatorError) as raised:
            apply(deployed)
    finally:
        deployed.query("revoke mana_owner from mana_reader")
    first, *lines = str(raised.value).splitlines()
    assert first == "the database differs from its files:"
    for expected in (
        "rule more on auth.accounts: no file has it",
        "type credits.more: no file has it",
        "trigger more on credits.transactions: no file has it",
        "constraint balances_free_credits_remaining_check on credits.balances: is missing",
        "index credits.transactions_one_per_key_of_an_app: is missing",
        "column credits.balances.version: not null must be (true), and is (false)",
        'table auth.users: children must be ([]), and is (["public.child"])',
        "table credits.packages: owner must be (mana_owner), and is (postgres)",
        "trigger of balances_user_id_fkey on credits.balances: enabled must be (O), and is (D)",
        'type auth.user_role: labels must be (["user", "admin", "service"]), and is (["user", "admin", "service", "more"])',  # noqa: E501
        "mana_reader must not be a member of mana_owner",
    ):
        assert f"  {expected}" in lines
    assert not [line for line in lines if "faster" in line]


def test_what_others_have_made_under_our_names_stops_a_deploy(empty: Database) -> None:
    empty.query("create schema extensions; create extension pgcrypto with schema public")
    code, output = mana(empty, "migrate", "apply")
    assert code == 1
    assert "schema extensions is there already and is not ours\n" in output
    assert "extension pgcrypto is there already, in schema public\n" in output
    assert "a database of its own" in output
    assert empty.query("select to_regnamespace('auth')") == [(None,)]


def test_a_database_that_was_restored_without_its_roles_is_named(bare_cluster: Cluster) -> None:
    with bare_cluster.database(migrated=False) as database:
        apply(database)
        database.query("reassign owned by mana_reader to postgres; drop owned by mana_reader; drop role mana_reader")
        code, output = mana(database, "migrate", "apply")
        assert (code, "role mana_reader is missing\n" in output) == (1, True), output
        assert "pg_dumpall --roles-only" in output
        database.query("create role mana_reader")
        apply(database)
        rollback(database, count=None)


def test_default_privileges_that_would_give_new_objects_away_stop_a_deploy(cluster: Cluster, empty: Database) -> None:
    before = schema(cluster, empty)
    empty.query("alter default privileges grant execute on functions to pg_monitor")
    with pytest.raises(OperatorError, match=r"of postgres grant execute on new functions to pg_monitor$"):
        apply(empty)
    empty.query("alter default privileges revoke execute on functions from pg_monitor")
    empty.query("drop schema deploy cascade")
    assert schema(cluster, empty) == before


def test_a_deploy_depends_neither_on_the_search_path_nor_on_the_limits_of_its_database(
    cluster: Cluster, empty: Database, fresh: str
) -> None:
    with psycopg.connect(empty.admin_url, autocommit=True) as connection:
        connection.execute(f"alter database {empty.name} set search_path = auth, credits, public".encode())
        connection.execute(f"alter database {empty.name} set statement_timeout = 1".encode())
        apply(empty)
        apply(empty)
        connection.execute(f"alter database {empty.name} reset search_path".encode())
        connection.execute(f"alter database {empty.name} reset statement_timeout".encode())
    assert schema(cluster, empty) == fresh


def test_a_rollback_that_gets_no_lock_gives_up_soon_and_changes_nothing(
    cluster: Cluster, deployed: Database, fresh: str
) -> None:
    with held(deployed, "select from credits.transactions"):
        code, output = mana(deployed, "migrate", "rollback", "--yes")
    assert code == 1
    assert "a table is in use and could not be locked\n" in output
    assert schema(cluster, deployed) == fresh


# ---------------------------------------------------------------- settings and administrators


@pytest.mark.soak  # test_cli.py gives them at migration
def test_the_amounts_of_the_grants_are_written_where_they_are_given(deployed: Database) -> None:
    amounts = "select signup_bonus, daily_free_credits from credits.settings"
    for given, expected in (
        ({}, (150, 5)),
        ({"CREDITS_SIGNUP_BONUS": "200", "CREDITS_DAILY_FREE": "0"}, (200, 0)),
        ({"CREDITS_DAILY_FREE": "7"}, (200, 7)),
        ({}, (200, 7)),
    ):
        code, output = mana(deployed, "migrate", "apply", **given)
        assert code == 0, output
        assert deployed.query(amounts) == [expected]


@pytest.mark.parametrize("amount", ["-1", "1.5", "many", "1000000001"])
def test_a_bad_amount_stops_the_deploy_before_it_begins(empty: Database, amount: str) -> None:
    code, output = mana(empty, "migrate", "apply", CREDITS_SIGNUP_BONUS=amount)
    assert code == 1
    assert "CREDITS_SIGNUP_BONUS" in output
    assert "Traceback" not in output
    assert left_over(empty) == []
    assert empty.query("select to_regnamespace('deploy')") == [(None,)]


async def test_an_administrator_who_is_no_superuser_can_deploy_roll_back_and_serve(
    bare_cluster: Cluster, tmp_path: Path
) -> None:
    """It takes CREATEROLE and the ownership of the database. Two settings take a superuser, once."""
    with bare_cluster.database(migrated=False) as database:
        database.query("create role manager login createrole password 'manager'")
        database.query(f"alter database {database.name} owner to manager")
        parts = urlsplit(database.admin_url)
        host = parts.netloc.rpartition("@")[2]
        admin_url = urlunsplit(parts._replace(netloc=f"manager:manager@{host}"))
        manager = Database(admin_url, "")

        code, output = mana(manager, "migrate", "apply", "--seed")
        assert code == 0, output
        by_hand = ["log_parameter_max_length = 0", "log_error_verbosity = terse"]
        for setting in by_hand:
            assert f"set in the server's configuration: {setting}" in output
        rollback(manager)
        apply(manager)
        rollback(manager, count=None)
        assert left_over(manager) == []
        apply(manager)
        migrate.configure_credits(admin_url, 100, None)

        gateway = Gateway(migrate.gateway_url(admin_url, tmp_path / "password"))
        gateway.start(expect_up=False)
        assert gateway.end() != 0
        refused = "".join(gateway.output)
        for setting in by_hand:
            assert setting.partition(" ")[0] in refused
        assert "Traceback" not in refused

        for setting in by_hand:
            database.query(f"alter database {database.name} set {setting}")
        with gateway:
            async with Service(gateway.url) as service:
                session = await service.new_session()
                assert (await session.use(30)).status == 200
                assert (await session.balance())["freeCreditsRemaining"] == 70
        assert mana(manager, "ledger", "verify")[0] == 0
        rollback(manager, count=None)
        assert manager.query("select rolname from pg_roles where rolname like 'mana\\_%%'") == []
        database.query(f"alter database {database.name} owner to postgres")
        database.query("drop owned by manager")
        database.query("drop role manager")


def test_a_database_from_the_template(cluster: Cluster, record_property: Callable[[str, object], None]) -> None:
    begin = time.monotonic()
    with cluster.database() as created:
        seconds = round(time.monotonic() - begin, 3)
        assert created.query("select count(*) from credits.settings") == [(1,)]
    record_property("seconds to copy the template", seconds)
    print(f"a copy of the template takes {seconds} s")
