"""What a connection pins, whatever its server, its role and its environment say."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from gateway.database import pins
from gateway.database.connections import pin
from gateway.operate.connecting import connect
from gateway.operate.migrate import SQL
from gateway.problems import OperatorError
from harness.databases import Cluster, Database
from harness.programs import mana
from harness.servers import PgBouncer
from proof.hostile import use

# The worst value of each, where there is one that a session accepts.
WORST = {
    "search_path": "auth, public",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "xmlbinary": "hex",
    "xmloption": "document",
    "row_security": "off",
    "session_replication_role": "replica",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Europe/Berlin",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "idle_session_timeout": "50000",
    "transaction_timeout": "50000",
    "exit_on_error": "on",
    "check_function_bodies": "off",
    "default_tablespace": "pg_default",
    "default_table_access_method": "heap",
    "createrole_self_grant": "set, inherit",
    "restrict_nonsystem_relation_kind": "view",
    "password_encryption": "md5",
    "client_min_messages": "error",
    "jit": "on",
    "ignore_checksum_failure": "on",
    "zero_damaged_pages": "on",
    "debug_print_parse": "on",
    "debug_print_rewritten": "on",
    "debug_print_plan": "on",
}
SHOWN = "select name, setting from pg_catalog.pg_settings where name = any(%s)"


@pytest.fixture
def hostile(cluster: Cluster) -> Iterator[Database]:
    """A database with the worst of all settings, for all of its roles and for the gateway's once more."""
    with cluster.database() as database:
        with psycopg.connect(database.admin_url, autocommit=True) as connection:  # one, begun before it is hostile
            known = {name for (name,) in connection.execute("select name from pg_settings")}
            for target in (f"database {database.name}", f"role mana_gateway in database {database.name}"):
                for name, value in (WORST | {"plpgsql.extra_errors": "all"}).items():
                    if name in known or "." in name:
                        shown = value if name == "search_path" else f"'{value}'"
                        connection.execute(f"alter {target} set {name} = {shown}".encode())
        yield database


def settings_of(connection: psycopg.Connection) -> dict[str, str]:
    return dict(connection.execute(SHOWN, (list(pins.PINS),)).fetchall())


def test_each_pin_has_a_worst_value() -> None:
    assert WORST.keys() == pins.PINS.keys()


def test_under_the_worst_of_all_settings_everything_goes_right(hostile: Database) -> None:
    assert use(hostile) == ""


def test_an_administrator_pins_all_of_it(hostile: Database) -> None:
    with connect(hostile.admin_url) as connection:
        found = settings_of(connection)
        assert connection.execute("show plpgsql.extra_errors").fetchone() == ("none",)
        assert connection.execute("show synchronous_commit").fetchone() == ("on",)
    assert len(found) > 25
    assert found == {name: pins.PINS[name] for name in found}


async def test_a_lane_pins_what_its_role_may_set(hostile: Database) -> None:
    async with await psycopg.AsyncConnection.connect(pins.conninfo(hostile.gateway_url), autocommit=True) as connection:
        await pin(connection)
        found = dict(await (await connection.execute(SHOWN, (list(pins.PINS),))).fetchall())
    superusers = {"session_replication_role", "ignore_checksum_failure", "zero_damaged_pages"}
    assert {name for name in found if found[name] != pins.PINS[name]} == superusers


async def test_behind_a_pooler_nothing_is_set(hostile: Database, pgbouncer: PgBouncer) -> None:
    url = pins.conninfo(pgbouncer.url(hostile))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await pin(connection)
        assert await (await connection.execute("show array_nulls")).fetchone() == ("off",)


def test_a_deploy_gives_the_settings_to_the_role_of_the_gateway(database: Database, pgbouncer: PgBouncer) -> None:
    with psycopg.connect(pgbouncer.url(database), autocommit=True) as connection:
        found = settings_of(connection)
    assert found == {name: pins.PINS[name] for name in found}


def test_a_setting_that_cannot_be_pinned_is_named(cluster: Cluster) -> None:
    with cluster.database(migrated=False) as database:
        database.query("create role weak login password 'weak'")
        try:
            database.query("alter role weak set session_replication_role = 'replica'")
            url = psycopg.conninfo.make_conninfo(database.admin_url, user="weak", password="weak")
            with pytest.raises(OperatorError, match=r"^session_replication_role must be origin, and is replica$"):
                connect(url)
        finally:
            database.query("drop role weak")


def test_of_several_hosts_the_primary_is_taken(database: Database) -> None:
    given = psycopg.conninfo.conninfo_to_dict(database.admin_url)
    url = f"postgresql://postgres:{given['password']}@127.0.0.1:1,127.0.0.1:{given['port']}/{database.name}"
    assert "target_session_attrs=primary" in pins.conninfo(url)
    assert "target_session_attrs=any" in pins.conninfo(f"{url}?target_session_attrs=any")
    with connect(url) as connection:
        assert connection.info.dbname == database.name


def test_a_role_that_the_url_asks_for_stays(database: Database) -> None:
    url = psycopg.conninfo.make_conninfo(database.admin_url, options="-c role=mana_owner -c search_path=auth")
    with connect(url) as connection:
        assert connection.execute("select current_user, current_setting('search_path')").fetchone() == (
            "mana_owner", "pg_catalog, pg_temp",
        )  # fmt: skip


def test_what_the_health_of_the_database_checks_is_pinned() -> None:
    text = (SQL / "functions" / "api" / "health" / "health.sql").read_text()
    for name, value in re.findall(r"current_setting\('(\w+)'\) <> '(\w+)'", text):
        assert name.startswith(("log_", "statement_timeout", "lock_timeout", "server_", "transaction_")) or (
            pins.PINS[name] == value
        )


def test_of_the_environment_only_what_a_url_asks_for_stays() -> None:
    environment = {
        "PGHOST": "elsewhere", "PGSSLMODE": "require", "PGSERVICE": "x", "PGOPTIONS": "-c array_nulls=off",
        "PGCLIENTENCODING": "LATIN1", "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "SQL", "PGTARGETSESSIONATTRS": "standby",
        "PGPASSWORD": "x", "PGPASSFILE": "x", "PGSERVICEFILE": "x", "PATH": "x", "PGBACKREST_CONFIG": "x",
    }  # fmt: skip
    assert len(pins.forget_environment(environment)) == 8
    assert set(environment) == {"PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PATH", "PGBACKREST_CONFIG"}


def test_a_command_does_not_obey_the_variables_of_libpq(database: Database) -> None:
    hostile = {
        "PGHOST": "nowhere.invalid", "PGSSLMODE": "require", "PGSERVICE": "missing", "PGPORT": "1",
        "PGOPTIONS": "-c search_path=auth -c role=mana_gateway", "PGCLIENTENCODING": "LATIN1", "PGUSER": "nobody",
        "PGTARGETSESSIONATTRS": "standby", "PGREQUIREAUTH": "none", "PGCHANNELBINDING": "disable", "PGTZ": "Asia/Tokyo",
    }  # fmt: skip
    finished = mana("ledger", "verify", environment={"DATABASE_ADMIN_URL": database.admin_url, **hostile})
    assert finished.returncode == 0, finished.stderr
    assert all(name in finished.stderr for name in hostile)
