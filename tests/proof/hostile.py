"""Each setting that a session can have, at its worst: all goes right, or is refused with a line.

The list comes from pg_settings. A switch is turned, a number has its least value, and of a choice each value is
tried that is not the default. It is tried on each level that can give it to a session of ours, or of a backend's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from unittest import mock

import click
import psycopg
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gateway.database import pins
from gateway.operate import migrate
from gateway.operate.cli import main
from gateway.operate.connecting import connect
from gateway.problems import OperatorError
from harness.clients import Service
from harness.databases import Archiving, Cluster, Database, start_cluster
from harness.doors import backend_login
from harness.gateways import Gateway
from harness.programs import mana

# Texts, and numbers that are worst elsewhere.
WORST = {
    "search_path": "auth, public",
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "TimeZone": "Europe/Berlin",
    "lc_numeric": "C",
    "default_tablespace": "pg_default",
    "extra_float_digits": "-15",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_session_timeout": "20",
    "idle_in_transaction_session_timeout": "20",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "role": "pg_monitor",
}
# No server has this as a setting until a library is loaded.
LIBRARIES = {"session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0"}
TOGETHER = 25  # settings of one backup

Values = Mapping[str, str]


def settings(database: Database) -> Iterator[dict[str, str]]:
    """What is set at a time."""
    for name, kind, default, least, choices in database.query(
        "select name, vartype, boot_val, min_val, enumvals from pg_settings"
        " where context in ('user', 'superuser') and name not like '%%preload%%' order by name"
    ):
        if name in WORST:
            yield {name: WORST[name]}
        elif kind == "bool":
            yield {name: "off" if default == "on" else "on"}
        elif kind in ("integer", "real"):
            yield {name: least}
        elif kind == "enum":
            yield from ({name: choice} for choice in choices if choice != default)
    yield {"role": WORST["role"]}
    yield LIBRARIES


# ---------------------------------------------------------------- levels


def on_server(cluster: Cluster, values: Values) -> str:
    """Set for the database, and for the gateway's role in it."""
    with cluster.database() as database:
        with database.connect() as connection:
            connection.execute("load 'auto_explain'")
            for target in ("database {}", "role mana_gateway in database {}"):
                if refused := _alter(connection, target, values):
                    return refused
        return use(database)


def in_string(cluster: Cluster, values: Values) -> str:
    """Asked for by the URLs."""
    options = pins.options(values.items())
    with cluster.database() as database:
        urls = (make_conninfo(url, options=options) for url in (database.admin_url, database.gateway_url))
        return use(Database(*urls))


def in_environment(cluster: Cluster, values: Values) -> str:
    """Asked for by the environment of each command."""
    environment = {"PGOPTIONS": pins.options(values.items())}
    with cluster.database() as database:
        commands = {**environment, "DATABASE_ADMIN_URL": database.admin_url}
        for _ in range(2):
            done = mana("migrate", "apply", environment=commands)
            assert done.returncode == 0, done.stderr
        assert (refused := serve(database, environment)) == "", refused
        done = mana("ledger", "verify", environment=commands)
        assert done.returncode == 0, done.stderr
    return ""


def in_backend(cluster: Cluster, values: Values) -> str:
    """Asked for by a backend, which spends in SQL. Its driver may fail; what it has written has to be right."""
    with cluster.database() as database, backend_login(database) as url:
        (user_id,) = database.query("select id from auth.register_user('zoe@example.com', 'digest', 'Zoë')")[0]
        spend = "select * from credits.use_credits(%s, %s, %s, %s, %s)"
        refused = ""
        try:
            with psycopg.connect(url, options=pins.options(values.items())) as connection:
                connection.execute("select auth.act_as(%s)", (user_id,))
                connection.execute(spend, (30, "shop", "Zoë Ωmega", "once", '{"a": [0.1, null, "\\\\é"]}'))
        except psycopg.Error as error:
            refused = f"backend: {error.diag.message_primary or str(error).splitlines()[-1]}"
        except UnicodeEncodeError as error:
            refused = f"backend: its driver: {error}"
        rows = database.query("select description, metadata, amount from credits.transactions where type = 'usage'")
        assert rows == ([] if refused else [("Zoë Ωmega", {"a": [0.1, None, "\\é"]}, -30)]), (refused, rows)
        database.assert_ledger_is_sound()
        return refused


def in_backup(archiving: Archiving, many: Values) -> str:
    """Set for the database that is backed up, restored and checked."""
    with psycopg.connect(archiving.server.url, autocommit=True) as connection:
        connection.execute("load 'auto_explain'")
        _alter(connection, "database {}", many)
        try:
            done = CliRunner().invoke(main, ["backup"], env=archiving.environment)
        finally:
            connection.execute(_of_database(connection, "alter database {} reset all"))
    assert done.exit_code == 0, done.stderr
    return ""


def _alter(connection: psycopg.Connection, target: str, values: Values) -> str:
    """Set them; returns what the server said of those that it does not take."""
    refused = ""
    for name, value in values.items():
        shown = sql.SQL(value) if name == "search_path" else sql.Literal(value)  # type: ignore[arg-type] # no input
        statement = _of_database(connection, f"alter {target} ") + sql.SQL("set {} = {}").format(
            sql.Identifier(name), shown
        )
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            refused = f"server: {error.diag.message_primary}"
    return refused


def _of_database(connection: psycopg.Connection, statement: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(connection.info.dbname))  # type: ignore[arg-type] # no input


# ---------------------------------------------------------------- use


def use(database: Database) -> str:
    """Deploy twice, serve, register, spend, verify. Returns what refused, empty if all went right."""
    try:
        for _ in range(2):
            migrate.apply(database.admin_url, lambda _: None)
    except (OperatorError, psycopg.Error) as error:  # the command line has one line for each
        return f"deploy: {str(error).splitlines()[0]}"
    if refused := serve(database):
        return refused
    with connect(database.admin_url) as connection:
        assert connection.execute("select * from credits.verify_ledger()").fetchall() == []
        stored = connection.execute("select distinct name from auth.users").fetchall()
        assert stored == [("Zoë Ωmega",)], stored
    return ""


def serve(database: Database, environment: Values | None = None) -> str:
    """Start a gateway and use it. Returns the line with which it refused to start, or that it is not ready."""
    gateway = Gateway(database.gateway_url, environment)
    with contextlib.ExitStack() as stack:
        stack.push(gateway)
        gateway.start(expect_up=False)
        gateway.wait_until_up_or_ended(15)
        if not gateway.url:
            output = "".join(gateway.output).strip()
            assert output, "not up, and not a word"
            assert "Traceback" not in output, output
            return f"gateway: {output.splitlines()[-1]}"
        return asyncio.run(_spend(gateway.url))


async def _spend(url: str) -> str:
    async with Service(url) as service:
        ready = await service.get("/health/ready")
        if ready.status != 200:
            return f"gateway: not ready: the database is {ready.body['database']}"
        assert (await service.register("zoe@example.com", name="Zoë Ωmega")).status == 201
        session = await service.session("zoe@example.com")
        for replayed in (False, True):
            reply = await session.use(30, idempotencyKey="once", metadata={"a": [0.1, None, "\\é"]})
            assert reply.status == 200, reply
            assert reply.body["transaction"]["metadata"] == {"a": [0.1, None, "\\é"]}
            assert reply.body["transaction"]["createdAt"].endswith("Z")
            assert ("Idempotency-Replayed" in reply.headers) == replayed
        assert (await session.balance())["freeCreditsRemaining"] == 120
    return ""


# ---------------------------------------------------------------- soak

_ON_CLUSTER = {"server": on_server, "string": in_string, "environment": in_environment, "backend": in_backend}
_BACKUP = "backup"
LEVELS = (*_ON_CLUSTER, _BACKUP)


def soak(levels: Sequence[str], sample: int | None, seed: int, report: Callable[[str], None] = click.echo) -> int:
    """Returns how many settings went wrong, of those on each of these LEVELS."""
    wrong = 0
    with start_cluster() as cluster:
        with cluster.database() as database:
            chosen = list(settings(database))
        if sample is not None:
            chosen = random.Random(seed).sample(chosen, sample)
        for level in levels:
            outcomes = []
            with _attempts(level, cluster) as attempt:
                for values in _batches(chosen) if level == _BACKUP else chosen:
                    if outcome := _outcome(attempt, values):
                        outcomes.append(outcome)
                        report(
                            f"{level}: {', '.join(f'{name} = {value}' for name, value in values.items())}: {outcome}"
                        )
            failures = sum(outcome.startswith("WRONG") for outcome in outcomes)
            report(f"{level}: of {len(chosen)} {len(outcomes) - failures} refused, {failures} wrong")
            wrong += failures
    return wrong


@contextlib.contextmanager
def _attempts(level: str, cluster: Cluster) -> Iterator[Callable[[Values], str]]:
    """What tries settings on a level."""
    if level in _ON_CLUSTER:
        yield partial(_ON_CLUSTER[level], cluster)
        return
    with Archiving(durable=False) as archiving, mock.patch.dict("os.environ", archiving.environment):
        migrate.apply(archiving.server.url, lambda _: None)
        yield partial(in_backup, archiving)


def _outcome(attempt: Callable[[Values], str], values: Values) -> str:
    try:
        return attempt(values)
    except Exception as error:
        return f"WRONG {type(error).__name__}: {error}"


def _batches(chosen: list[dict[str, str]]) -> list[dict[str, str]]:
    """Many settings in each, of one name one value."""
    batches: list[dict[str, str]] = []
    for values in chosen:
        fitting = (b for b in batches if len(b) < TOGETHER and not b.keys() & values.keys())
        batch = next(fitting, None)
        if batch is None:
            batches.append(batch := {})
        batch.update(values)
    return batches
