"""Each setting that a database or a role can change, at its worst: all goes right, or is refused with a line.

The list comes from pg_settings. A switch is turned, a number has its least value, and of a choice each value is
tried that is not the default.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator

import click
import psycopg
from psycopg import sql

from gateway.operate import migrate
from gateway.operate.connecting import connect
from gateway.problems import OperatorError
from harness.clients import Service
from harness.databases import Cluster, Database, start_cluster
from harness.gateways import Gateway

# Texts, and numbers that are worst elsewhere.
WORST = {
    "search_path": "auth, public",
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "TimeZone": "Europe/Berlin",
    "lc_numeric": "C",
    "default_tablespace": "pg_default",
    "extra_float_digits": "-15",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
}
# A name that no server has as a setting until a library is loaded
LIBRARIES = {"session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0"}


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
    yield LIBRARIES


def impose(database: Database, values: dict[str, str]) -> None:
    """Set them for the database, and for the gateway's role in it."""
    with database.connect() as connection:
        connection.execute("load 'auto_explain'")
        targets = ("database {0}", "role mana_gateway in database {0}")
        for target in targets:
            for name, value in values.items():
                shown = sql.SQL(value) if name == "search_path" else sql.Literal(value)
                statement = sql.SQL("alter " + target + " set {1} = {2}")  # type: ignore[arg-type] # no input
                connection.execute(statement.format(sql.Identifier(database.name), sql.Identifier(name), shown))


def use(database: Database) -> str:
    """Deploy twice, serve, register, spend, verify. Returns what refused, empty if all went right."""
    try:
        for _ in range(2):
            migrate.apply(database.admin_url, lambda _: None)
    except OperatorError as error:
        return f"deploy: {error}"
    gateway = Gateway(database.gateway_url)
    with contextlib.ExitStack() as stack:
        stack.push(gateway)
        gateway.start(expect_up=False)
        gateway.wait_until_up_or_ended(15)
        if not gateway.url:
            output = "".join(gateway.output).strip()
            assert output, "not up, and not a word"
            assert "Traceback" not in output, output
            return f"gateway: {output.splitlines()[-1]}"
        asyncio.run(_spend(gateway.url))
    with connect(database.admin_url) as connection:
        assert connection.execute("select * from credits.verify_ledger()").fetchall() == []
        stored = connection.execute("select distinct name from auth.users").fetchall()
        assert stored == [("Zoë Ωmega",)], stored
    return ""


async def _spend(url: str) -> None:
    async with Service(url) as service:
        assert (await service.register("zoe@example.com", name="Zoë Ωmega")).status == 201
        session = await service.session("zoe@example.com")
        for replayed in (False, True):
            reply = await session.use(30, idempotencyKey="once", metadata={"a": [0.1, None, "\\é"]})
            assert reply.status == 200, reply
            assert reply.body["transaction"]["metadata"] == {"a": [0.1, None, "\\é"]}
            assert reply.body["transaction"]["createdAt"].endswith("Z")
            assert ("Idempotency-Replayed" in reply.headers) == replayed
        assert (await session.balance())["freeCreditsRemaining"] == 120


def soak(sample: int | None, seed: int, report: Callable[[str], None] = click.echo) -> int:
    """Returns how many settings went wrong."""
    wrong = 0
    with start_cluster() as cluster:
        with cluster.database() as database:
            chosen = list(settings(database))
        if sample is not None:
            chosen = random.Random(seed).sample(chosen, sample)
        for values in chosen:
            outcome = _outcome(cluster, values)
            wrong += outcome.startswith("WRONG")
            report(f"{', '.join(f'{name} = {value}' for name, value in values.items())}: {outcome or 'right'}")
    report(f"{len(chosen)} tried, {wrong} wrong")
    return wrong


def _outcome(cluster: Cluster, values: dict[str, str]) -> str:
    with cluster.database() as database:
        try:
            impose(database, values)
        except psycopg.Error as error:
            return f"the server takes no such value: {error.diag.message_primary}"
        try:
            return use(database)
        except Exception as error:
            return f"WRONG {type(error).__name__}: {error}"
