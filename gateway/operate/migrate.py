"""Brings a database to the state that the files in ``sql/`` describe, and back.

Migrations run once, in order, each in one transaction with its bookkeeping. Functions and
policies are the current truth: all of them are written again at every deploy, in one transaction.
One deploy at a time: the others wait. At its end a deploy compares the catalog with what the files make
in empty schemas, and fails with what differs.

The release before goes on serving meanwhile. So the first deploy of a release leaves what its
gateways may still call: functions that no file defines any more, and the ``.post.`` migrations that
take away what those use. The next deploy of the same files, when the old gateways have gone, drops
the functions and applies the migrations. A new database has had no release before: there one deploy
does all.

Clients keep working meanwhile. Writing a policy locks its table, so a table that is as its file left it is
passed over. Later clients queue behind a transaction that waits for a lock, so a deploy waits briefly, lets
them through, and tries again.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from yoyo import read_migrations
from yoyo.backends import DatabaseBackend
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration, MigrationList, default_migration_table

from gateway import private_files
from gateway.database import pins
from gateway.operate import catalog
from gateway.operate.connecting import connect
from gateway.problems import OperatorError

SCHEMAS = ("base", "auth", "_auth", "credits", "_credits", "payments", "_payments", "api")
DEFINERS = ("mana_auth", "mana_ledger", "mana_payments", "mana_api", "mana_auditor")
ROLES = (*DEFINERS, "mana_owner", "mana_gateway", "mana_worker", "mana_backend", "mana_reader")
LATER_ROLES = ("mana_api", "mana_payments", "mana_worker")  # made by later migrations than the first
MONITOR = "mana_monitor"  # what an exporter logs in as
AT_WORK: LiteralString = "mana migrate"  # application_name of the connections that change the database
FORMER_LOCK = 0x6D616E61  # the advisory lock of deploys of release 0.1
OTHER_DEPLOY_AWAITED_FOR = 60.0  # seconds
LOCK_TIMEOUT: LiteralString = "set local lock_timeout = '1s'"
LOCKED_WITHIN: LiteralString = "set local statement_timeout = '300ms'"  # for all tables, at one attempt
TABLES_AWAITED_FOR = 20.0  # seconds, over all attempts
PAUSE = (0.1, 0.4)  # seconds between two attempts, for clients that wait: random, so as not to fall into step with them

_PACKAGED = Path(__file__).parents[1] / "_sql"
SQL = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "sql"

Report = Callable[[str], None]


class _InUseError(OperatorError):
    """A table could not be locked in time; nothing has changed."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration: its id, and whether the database has it."""

    id: str
    applied: bool


def status(url: str, directory: Path = SQL) -> list[MigrationStatus]:
    """All migrations, oldest first. Raises OperatorError when an applied one was edited."""
    with _locked(url) as connection, _yoyo(url) as backend:
        migrations = _migrations(directory)
        _refuse_edited(connection, backend, migrations)
        return [MigrationStatus(m.id, backend.is_applied(m)) for m in migrations]


def apply(url: str, report: Report, directory: Path = SQL, upto: str | None = None) -> None:
    """Apply missing migrations, then write all functions and policies.

    ``upto`` stops after that migration and leaves functions and policies alone.
    Raises OperatorError; each step that was reported before stays.
    """
    with _locked(url) as connection, _yoyo(url) as backend:
        migrations = _migrations(directory)
        _refuse_edited(connection, backend, migrations)
        pending = [m for m in backend.to_apply(migrations) if upto is None or m.id <= upto]
        if upto is not None:
            _apply_each(backend, pending, report)
            return
        _refuse_obstacles(connection, directory, begun=len(pending) < len(migrations))
        _refuse_default_privileges(connection, directory)
        release = _release(directory)
        finishes = _finishes(connection, directory, release)
        _apply_each(backend, [m for m in pending if not _is_late(m)], report)
        report("functions and policies")
        connection.add_notice_handler(lambda notice: _report_warning(notice, report))
        _write_repeatables(connection, directory, finishes)
        if finishes:
            _apply_each(backend, [m for m in pending if _is_late(m)], report)
        else:
            report("what the release before uses stays until the next deploy")
        _refuse_differences(connection, directory, [m for m in migrations if backend.is_applied(m)], finishes)
        connection.execute(
            "insert into deploy.release values (true, %s) on conflict (id) do update set sha256 = excluded.sha256",
            (release,),
        )


def rollback(url: str, report: Report, directory: Path = SQL, count: int | None = 1) -> None:
    """Take back the last ``count`` migrations, all of them when it is None.

    Functions and policies go first, they belong to the newest tables: apply brings them back, run
    from the release that the database is to match.
    """
    with _locked(url) as connection, _yoyo(url) as backend:
        migrations = _migrations(directory)
        _refuse_edited(connection, backend, migrations)
        report("functions and policies")
        with _errors_named("functions and policies"), connection.transaction():
            connection.execute(LOCK_TIMEOUT)
            _execute_returned(connection, directory, "drop_policies", [], False)
            _execute_returned(connection, directory, "drop_routines", False)
            _run_file(connection, directory / "deploy" / "grant_built_in.sql", directory)
            # The next deploy may be of another release, whose gateways serve when this one comes again.
            connection.execute("drop table if exists deploy.release")
        for migration in list(backend.to_rollback(migrations))[:count]:
            report(f"rollback of {migration.id}")
            with _carried_out(backend, migration, "rollback"):
                backend.unmark_one(migration)


def configure_credits(url: str, signup_bonus: int | None, daily_free: int | None) -> None:
    """Set the amounts of the grants; None leaves one as it is."""
    with connect(url) as connection:
        connection.execute("select credits.configure(%s, %s)", (signup_bonus, daily_free))


def seed_packages(url: str) -> int:
    """Put packages on sale unless there are some; returns how many."""
    with connect(url) as connection:
        row = connection.execute("select credits.seed_packages()").fetchone()
    return int(row[0]) if row else 0


def gateway_url(admin_url: str, password_file: Path) -> str:
    """The URL of role mana_gateway, as login_url has it."""
    return login_url(admin_url, password_file, "mana_gateway", "DATABASE_URL")


def login_url(admin_url: str, password_file: Path, role: str, setting: str) -> str:
    """The URL of a role that logs in, with the password in the file; the role is given it.

    Raises OperatorError if the role has a password and the file does not exist: another installation
    uses the role then, and ``setting`` has to have its URL.
    """
    with connect(admin_url) as connection:
        if not password_file.exists() and _has_password(connection, role):
            raise OperatorError(
                f"role {role} has a password already, and it is not known here",
                hint=f"set {setting} to the role's own URL and DATABASE_ADMIN_URL to the administrator's",
            )
        password = private_files.secret(password_file)
        _set_password(connection, role, password)
    return make_conninfo(admin_url, user=role, password=password)


def set_passwords(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Let roles log in with these passwords. mana_monitor, which may read statistics alone, is made first."""
    # Two at once would update one row of the catalog, and one of them be refused.
    with _locked(admin_url) as connection, connection.transaction():
        for role, password in passwords.items():
            if role == MONITOR:
                if connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is None:
                    connection.execute("create role mana_monitor login connection limit 5")
                connection.execute("grant pg_monitor to mana_monitor")
                if connection.info.server_version >= 160000:
                    connection.execute("grant pg_use_reserved_connections to mana_monitor")
                database = sql.Identifier(connection.info.dbname)
                connection.execute(sql.SQL("grant connect on database {} to mana_monitor").format(database))
            _set_password(connection, role, password)


def _set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    # Hashed on this side: neither the server nor its log ever sees the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)))


def _has_password(connection: psycopg.Connection, role: str) -> bool:
    try:
        row = connection.execute("select rolpassword is not null from pg_authid where rolname = %s", (role,)).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return False  # only a superuser may look
    return bool(row and row[0])


def write_database_settings(url: str) -> None:
    """Write the grants and settings of the database itself, which a copy of it lacks."""
    with connect(url) as connection:
        _run_file(connection, SQL / "policies" / "database.sql", SQL)
        _pin_for_gateways(connection)


def _pin_for_gateways(connection: psycopg.Connection) -> None:
    """Give mana_gateway, in this database, the settings that this connection has pinned.

    So a pooler's connections have them, too. What only a superuser may set is left to api.health().
    """
    settings = connection.execute(
        "select name from pg_settings where name = any(%s)"
        " and (context = 'user' or has_parameter_privilege(name, 'set')) order by name",
        ([*pins.PINS, "synchronous_commit"],),
    ).fetchall()
    database = sql.Identifier(connection.info.dbname)
    for (name,) in settings:
        statement = sql.SQL("alter role mana_gateway in database {} set {} from current")
        connection.execute(statement.format(database, sql.Identifier(name)))


@contextmanager
def _locked(url: str) -> Iterator[psycopg.Connection]:
    """A connection at work, while no other deploy is.

    Another connection holds the lock. It is on a table that only administrators reach: an advisory lock is a number,
    which any client that may take such locks could hold for ever.
    """
    deadline = time.monotonic() + OTHER_DEPLOY_AWAITED_FOR
    with connect(url) as keeper:
        _refuse_standby(keeper)
        _make_deploy_schema(keeper)
        _lock_deploys(keeper, deadline)
        with connect(url) as connection:
            connection.execute(_NAME_AT_WORK)
            # The server may still be at work for a deploy that was killed and has lost its lock.
            _await(deadline, lambda: connection.execute(_OTHERS_AT_WORK, (AT_WORK, FORMER_LOCK)).fetchone() is None)
            connection.execute("select pg_try_advisory_lock(%s)", (FORMER_LOCK,))
            yield connection


def _refuse_standby(connection: psycopg.Connection) -> None:
    if connection.execute("select where pg_is_in_recovery()").fetchone() is not None:
        raise OperatorError(
            "the server is a standby, and a deploy has to write", hint="name its primary in DATABASE_ADMIN_URL"
        )


def _make_deploy_schema(connection: psycopg.Connection) -> None:
    """Make what deploys remember and lock. Two first ones may do so at once."""
    for attempt in range(10):
        try:
            with connection.transaction():
                connection.execute("create schema if not exists deploy")
                connection.execute("revoke all on schema deploy from public")
                connection.execute("create table if not exists deploy.running ()")
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.InternalError_):
            if attempt == 9:
                raise
            time.sleep(random.uniform(*PAUSE))  # noqa: S311 - no secret
        else:
            return


def _lock_deploys(keeper: psycopg.Connection, deadline: float) -> None:
    """Lock deploys until the connection ends, by a transaction that has no snapshot.

    CREATE INDEX CONCURRENTLY waits for snapshots. A statement that waits for a lock has one, and so has a transaction
    after a query, so this one locks at once or not at all, and executes nothing else.
    """
    keeper.execute("set idle_in_transaction_session_timeout = 0")

    def lock() -> bool:
        keeper.execute("begin")
        try:
            keeper.execute("lock table deploy.running in exclusive mode nowait")
        except psycopg.errors.LockNotAvailable:
            keeper.execute("rollback")
            return False
        return True

    _await(deadline, lock)


def _await(deadline: float, done: Callable[[], bool]) -> None:
    while not done():
        if time.monotonic() > deadline:
            raise OperatorError("another deploy of this database is still running", hint="try again later")
        time.sleep(0.1)


_NAME_AT_WORK: LiteralString = f"set application_name = '{AT_WORK}'"
_OTHERS_AT_WORK: LiteralString = """
    select
      from pg_stat_activity as a
      join pg_database as d on d.oid = a.datid
     where d.datname = current_database() and a.pid <> pg_backend_pid()
       and pg_has_role(a.usesysid, d.datdba, 'member')
       and (a.application_name = %s
            or exists (select
                         from pg_locks as l
                        where l.pid = a.pid and l.locktype = 'advisory' and l.objid = %s::bigint::oid and l.granted))
"""


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc] # yoyo has no types
    """Yoyo's backend over a connection of ours, which keeps its tables in schema deploy."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__(DatabaseURI("", None, None, None, None, "", {}), default_migration_table)

    def connect(self, dburi: DatabaseURI) -> psycopg.Connection:
        self.schema = "deploy, pg_temp"
        return connect(self._url)


@contextmanager
def _yoyo(url: str) -> Iterator[DatabaseBackend]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backend = _Backend(url)
        try:
            backend.init_database()
            with backend.transaction():
                backend.execute(_NAME_AT_WORK)
            # The lock of yoyo's own is a row, and a deploy that was killed has left it.
            backend.break_lock()
            backend.ensure_internal_schema_updated()
            yield backend
        finally:
            backend.connection.close()


def _migrations(directory: Path) -> MigrationList:
    return read_migrations(str(directory / "migrations"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checksum(migration: Migration) -> str:
    return _sha256(Path(migration.path))


def _is_late(migration: Migration) -> bool:
    """Whether it waits until the gateways of the release before have gone."""
    return ".post." in str(migration.id)


def _release(directory: Path) -> str:
    """What tells this release's files from those of any other."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*.sql")):
        digest.update(f"{path.relative_to(directory)} {_sha256(path)}\n".encode())
    return digest.hexdigest()


def _finishes(connection: psycopg.Connection, directory: Path, release: str) -> bool:
    """Whether nobody uses what another release left: this one was deployed before, or none was."""
    connection.execute("create table if not exists deploy.release (id boolean primary key check (id), sha256 text)")
    row = connection.execute("select sha256 from deploy.release").fetchone()
    return row == (release,) or not _query(connection, directory, "drop_routines", False)


def _refuse_edited(connection: psycopg.Connection, backend: DatabaseBackend, migrations: MigrationList) -> None:
    """Yoyo knows a migration by its name alone; the checksum shows that its text has changed."""
    connection.execute("create table if not exists deploy.checksums (id text primary key, sha256 text not null)")
    landed: dict[str, str] = dict(connection.execute("select id, sha256 from deploy.checksums").fetchall())
    for migration in migrations:
        if backend.is_applied(migration) and landed.get(migration.id) != _checksum(migration):
            raise OperatorError(
                f"migration {migration.id} was edited after it was applied",
                hint="restore the file as it was and write the change as the next migration",
            )


def _report_warning(notice: psycopg.errors.Diagnostic, report: Report) -> None:
    if notice.severity_nonlocalized == "WARNING":
        report(f"warning: {notice.message_primary}")


def _apply_each(backend: DatabaseBackend, migrations: Iterable[Migration], report: Report) -> None:
    for migration in migrations:
        report(f"migration {migration.id}")
        _patiently(partial(_apply_one, backend, migration))


@contextmanager
def _carried_out(backend: DatabaseBackend, migration: Migration, direction: str) -> Iterator[None]:
    """Carry out a migration, and the body of the ``with`` in its transaction: a crash leaves all of it or nothing.

    Statements that run outside of a transaction can be repeated. They come before one for the body.
    """
    with _errors_named(migration.id):
        migration.load()
        if not migration.use_transactions:
            migration.process_steps(backend, direction)
        with backend.transaction():
            if migration.use_transactions:
                migration.process_steps(backend, direction)
            yield


def _apply_one(backend: DatabaseBackend, migration: Migration) -> None:
    with _carried_out(backend, migration, "apply"):
        backend.mark_one(migration)
        backend.execute(
            "insert into deploy.checksums values (:id, :sha256) "
            "on conflict (id) do update set sha256 = excluded.sha256",
            {"id": migration.id, "sha256": _checksum(migration)},
        )


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise _in_use(name) from error
    except psycopg.Error as error:
        raise OperatorError(f"{name}: {error}") from error


def _in_use(name: str) -> _InUseError:
    return _InUseError(f"{name}: a table is in use and could not be locked", hint="nothing was changed; try again")


def _patiently(attempt: Callable[[], None]) -> None:
    deadline = time.monotonic() + TABLES_AWAITED_FOR
    while True:
        try:
            return attempt()
        except _InUseError:
            if time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(*PAUSE))  # noqa: S311 - no secret


def _write_repeatables(connection: psycopg.Connection, directory: Path, finishes: bool) -> None:
    functions = sorted((directory / "functions").rglob("*.sql"))
    with _errors_named("functions and policies"), connection.transaction():
        connection.execute(LOCK_TIMEOUT)
        written = _written(connection, directory)
        # The files name every grant, so grants of earlier releases are revoked first.
        callers = _query(connection, directory, "callers")
        _execute_returned(connection, directory, "revoke_all", written, list(ROLES))
        # The owner of a function or a view needs CREATE on its schema, in this transaction alone.
        _execute_for_each(connection, "grant create on schema {} to {}", SCHEMAS, DEFINERS)
        connection.execute("set local check_function_bodies = off")  # they call one another
        with connection.transaction():  # a savepoint, by which stale_routines tells what no file has written
            for path in functions:
                _write_function(connection, path, directory)
        connection.execute("set local check_function_bodies = on")
        _execute_returned(connection, directory, "grown_routines")
        if not finishes:
            _grant_again(connection, directory, callers)
        # Late, because from here on clients wait until the commit.
        _patiently(partial(_write_policies, connection, directory, written))
        _pin_for_gateways(connection)
        if finishes:  # after the policies that use such a function were written or dropped
            _execute_returned(connection, directory, "drop_routines", True)
        _execute_for_each(connection, "revoke create on schema {} from {}", SCHEMAS, DEFINERS)


def _refuse_obstacles(connection: psycopg.Connection, directory: Path, *, begun: bool) -> None:
    made = [role for role in ROLES if role not in LATER_ROLES] if begun else []
    if lines := [line for (line,) in _query(connection, directory, "obstacles", made)]:
        hint = (
            "restore the server's roles first (pg_dumpall --roles-only), then the database"
            if begun
            else "give the service a database of its own"
        )
        raise OperatorError("\n".join(lines), hint=hint)


def _refuse_default_privileges(connection: psycopg.Connection, directory: Path) -> None:
    if lines := [line for (line,) in _query(connection, directory, "default_privileges")]:
        raise OperatorError("\n".join(lines), hint="revoke them with ALTER DEFAULT PRIVILEGES; nothing was changed")


def _refuse_differences(
    connection: psycopg.Connection, directory: Path, migrations: Iterable[Migration], finishes: bool
) -> None:
    """Compare the catalog with what the files make. Raises OperatorError with what differs."""
    found = _catalog(connection, directory)
    with _errors_named("comparison with the files"), connection.transaction(force_rollback=True):
        _write_aside(connection, directory, migrations)
        wanted = _catalog(connection, directory)
    lines = catalog.differences(found, wanted, left_routines=not finishes)
    lines += [line for (line,) in _query(connection, directory, "roles", list(ROLES))]
    if lines:
        raise OperatorError(
            catalog.text(lines), hint="undo what was changed by hand; a deploy repairs functions, policies and grants"
        )


def _write_aside(connection: psycopg.Connection, directory: Path, migrations: Iterable[Migration]) -> None:
    """Write all files into empty schemas, while ours have other names. No table of ours is locked or touched, and
    nobody else sees it: the transaction never commits.
    """
    connection.execute(LOCK_TIMEOUT)
    connection.execute("set local check_function_bodies = off")
    for schema in SCHEMAS:
        names = map(sql.Identifier, (schema, f"_{schema}_"))
        connection.execute(sql.SQL("alter schema {} rename to {}").format(*names))
    late = [migration for migration in migrations if _is_late(migration)]
    for migration in migrations:
        if migration not in late:
            _run_migration_aside(connection, migration)
    _execute_for_each(connection, "grant create on schema {} to {}", SCHEMAS, DEFINERS)
    for path in sorted((directory / "functions").rglob("*.sql")):
        _run_file(connection, path, directory)
    for path in sorted((directory / "policies").rglob("*.sql")):
        if path.stem != "database":
            _run_file(connection, path, directory)
    _execute_for_each(connection, "revoke create on schema {} from {}", SCHEMAS, DEFINERS)
    for migration in late:
        _run_migration_aside(connection, migration)


def _run_migration_aside(connection: psycopg.Connection, migration: Migration) -> None:
    text = Path(migration.path).read_text()
    text = text.replace(" concurrently", "")  # not within a transaction
    text = re.sub(r"^create (?:schema extensions|extension) .*$", "", text, flags=re.MULTILINE)  # they are there
    with _errors_named(str(migration.id)):
        connection.execute(text.encode())


def _catalog(connection: psycopg.Connection, directory: Path) -> catalog.Catalog:
    return {(label, facet): value for label, facet, value in _query(connection, directory, "catalog")}


def _grant_again(connection: psycopg.Connection, directory: Path, callers: list[tuple[Any, ...]]) -> None:
    """Let the gateways of the release before go on calling what no file defines any more."""
    stale = {name for (name,) in _query(connection, directory, "stale_routines")}
    for name, caller in callers:
        if name in stale:
            connection.execute(f"grant execute on routine {name} to {caller}".encode())


def _write_function(connection: psycopg.Connection, path: Path, directory: Path) -> None:
    try:
        with connection.transaction():
            _run_file(connection, path, directory)
    except OperatorError as error:
        if not isinstance(error.__cause__, psycopg.errors.InvalidFunctionDefinition):
            raise
        # It returns another type than before, and CREATE OR REPLACE cannot change that. The one from before makes
        # way: calls that are running could not end well without it. The next deploy drops it, as no file has it.
        signature = _SIGNATURE.search(path.read_text())
        if signature is None:
            raise
        without_defaults = re.sub(r"\s+default\s+[^,)]+", "", signature[1])
        name = without_defaults.partition("(")[0].rpartition(".")[2].strip()
        connection.execute(f"alter function {without_defaults} rename to former_{name}_{secrets.token_hex(4)}".encode())
        _run_file(connection, path, directory)


def _write_policies(connection: psycopg.Connection, directory: Path, written: list[str]) -> None:
    with connection.transaction():
        # All tables at once, before any is changed: one after the other, each wait would block the clients of
        # the tables before it.
        try:
            connection.execute(LOCKED_WITHIN)
            _execute_returned(connection, directory, "lock_tables", written)
            connection.execute("set local statement_timeout = 0")
        except psycopg.errors.QueryCanceled as error:
            raise _in_use("functions and policies") from error
        for path in sorted((directory / "policies").rglob("*.sql")):
            if f"{path.parent.name}.{path.stem}" not in written:
                _run_file(connection, path, directory)
        _execute_returned(connection, directory, "drop_policies", written, True)
        for relation, fingerprint in _fingerprints(connection, directory).items():
            connection.execute(
                "insert into deploy.policies values (%s, %s)"
                " on conflict (relation) do update set fingerprint = excluded.fingerprint",
                (relation, fingerprint),
            )


def _written(connection: psycopg.Connection, directory: Path) -> list[str]:
    """The tables and views whose file has run as it is now, and that are as it left them."""
    connection.execute("create table if not exists deploy.policies (relation text primary key, fingerprint text)")
    recorded: dict[str, str] = dict(connection.execute("select relation, fingerprint from deploy.policies").fetchall())
    current = _fingerprints(connection, directory)
    return [relation for relation, fingerprint in current.items() if recorded.get(relation) == fingerprint]


def _fingerprints(connection: psycopg.Connection, directory: Path) -> dict[str, str]:
    """The state of each table and view, in its file and in the catalog."""
    states: dict[str, str] = dict(_query(connection, directory, "states"))
    files = {f"{path.parent.name}.{path.stem}": path for path in (directory / "policies").glob("*/*.sql")}
    return {name: f"{_sha256(path)} {states.get(name)}" for name, path in files.items()}


def _execute_for_each(
    connection: psycopg.Connection, statement: LiteralString, schemas: tuple[str, ...], roles: tuple[str, ...]
) -> None:
    for schema in schemas:
        for role in roles:
            connection.execute(sql.SQL(statement).format(sql.Identifier(schema), sql.Identifier(role)))


def _execute_returned(connection: psycopg.Connection, directory: Path, name: str, *arguments: object) -> None:
    """Execute the statements that a query of ``deploy/`` returns."""
    for (statement,) in _query(connection, directory, name, *arguments):
        connection.execute(cast("LiteralString", statement))


def _query(connection: psycopg.Connection, directory: Path, name: str, *arguments: object) -> list[tuple[Any, ...]]:
    """The rows of a query of ``deploy/``, whose first parameter is our schemas."""
    query = (directory / "deploy" / f"{name}.sql").read_bytes()
    return psycopg.RawCursor(connection).execute(query, [list(SCHEMAS), *arguments]).fetchall()


_SIGNATURE = re.compile(r"create or replace function\s+([\w.]+\s*\((?:[^()]|\([^()]*\))*\))")


def _run_file(connection: psycopg.Connection, path: Path, directory: Path) -> None:
    with _errors_named(str(path.relative_to(directory))):
        connection.execute(path.read_bytes())
