"""What a connection of ours sets before its first statement.

What SQL means depends on settings that a server, a database, a role, a URL and the environment of a client
can change. The list is here, and api.health() refuses what its own part of it does not find. A connection
that ends at PostgreSQL itself sets all of it; through a pooler, where a setting would go to whoever has the
server's connection next, the settings of the role do it, which a deploy writes for its database.

Of libpq's variables only those count that answer what a URL asks for: a password, a service. Every other one
would lead a tool elsewhere, or make it fail, without a word in the URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, LiteralString, TypeAlias

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# Settings that a version lacks are passed over. The values are as pg_settings shows them.
PINS = {
    # what names, literals and comparisons mean
    "search_path": "pg_catalog, pg_temp",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "xmlbinary": "base64",
    "xmloption": "content",
    "row_security": "on",
    "session_replication_role": "origin",
    # what a value looks like
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    # what a transaction is
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "exit_on_error": "off",
    # what is created, and how functions run
    "check_function_bodies": "on",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    "createrole_self_grant": "",
    "restrict_nonsystem_relation_kind": "",
    "password_encryption": "scram-sha-256",
    "client_min_messages": "notice",
    "jit": "off",
    # what shows damage, and what would write parameters into the log
    "ignore_checksum_failure": "off",
    "zero_damaged_pages": "off",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
}
# A deploy takes its time and limits its own waits. The gateway's limits are those of its role.
_OF_ADMINISTRATORS = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "60000"}

# When a server that has vanished without a word is given up: after 40 seconds. The network of the machine would
# wait for two hours if nothing is on its way to the server, and for a quarter of an hour if something is.
ALIVE = {
    "keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 40_000,
}  # fmt: skip

# What a libpq variable may still say.
KEPT = frozenset({"PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR"})
# Libpq sends these as settings of the session, but lists them nowhere.
_UNLISTED = ("PGDATESTYLE", "PGTZ", "PGGEQO")

Statement: TypeAlias = tuple[LiteralString, Sequence[list[str]]]

_NO_TIMEOUT: LiteralString = "set statement_timeout = 0"  # alone, because it bounds all that follows it
_FIRST: LiteralString = "set idle_session_timeout = 0; set search_path = pg_catalog, pg_temp"
_NO_ROLE: LiteralString = "set role none"
_PIN: LiteralString = """
select set_config(s.name, p.value, false)
  from unnest(%s::text[], %s::text[]) as p (name, value)
  join pg_settings as s on s.name = p.name
 where s.setting is distinct from p.value and (s.context = 'user' or has_parameter_privilege(s.name, 'set'))
"""
# PostgreSQL knows these when it first runs PL/pgSQL; until then pg_settings does not show them.
_PIN_OF_PLPGSQL: LiteralString = "set plpgsql.extra_errors = 'none'; set plpgsql.extra_warnings = 'none'"
# Acknowledged is on the disk; a server may promise more.
_PIN_DURABLE: LiteralString = """
select set_config(name, 'on', false)
  from pg_settings
 where name = 'synchronous_commit' and setting not in ('on', 'remote_apply')
"""
_OF_PROGRAMS: LiteralString = """
select s.name, p.value
  from unnest(%s::text[], %s::text[]) as p (name, value)
  join pg_settings as s on s.name = p.name
 where s.context = 'user' or has_parameter_privilege(s.name, 'set')
union all
values ('role', 'none')
"""
_UNPINNED: LiteralString = """
select s.name, p.value, s.setting
  from unnest(%s::text[], %s::text[]) as p (name, value)
  join pg_settings as s on s.name = p.name
 where s.setting is distinct from p.value
 order by s.name
"""


def conninfo(url: str, **parameters: Any) -> str:
    """The connection string, in any form that libpq takes, with parameters that count before its own."""
    given = conninfo_to_dict(url)
    if "options" not in given and "service" not in given:
        parameters["options"] = ""  # not those of the environment
    hosts = str(given.get("host") or given.get("hostaddr") or "")
    if "," in hosts and "target_session_attrs" not in given and "service" not in given:
        parameters["target_session_attrs"] = "primary"  # the one of several that can be written to
    return make_conninfo(url, **{"client_encoding": "UTF8", **ALIVE, **parameters})


def for_gateways() -> list[Statement]:
    """What a lane's connection executes in turn."""
    return [(_FIRST, ()), (_NO_ROLE, ()), *_pins(PINS)]


def for_administrators(url: str) -> list[Statement]:
    """What an administrator's connection executes in turn.

    The last statement returns each setting that is not what it must be: its name, the wanted and the found value.
    """
    pins = PINS | _OF_ADMINISTRATORS
    asked = re.search(r"\brole\s*=", str(conninfo_to_dict(url).get("options") or ""))
    role: list[Statement] = [] if asked else [(_NO_ROLE, ())]
    return [(_NO_TIMEOUT, ()), (_FIRST, ()), *role, *_pins(pins), (_UNPINNED, _columns(pins))]


def for_programs() -> Statement:
    """What returns the settings, name and value, that this role can ask this server for when it connects."""
    return _OF_PROGRAMS, _columns(PINS | _OF_ADMINISTRATORS)


def options(settings: Iterable[tuple[str, str]]) -> str:
    """Settings as libpq's parameter ``options`` takes them."""
    return " ".join("-c " + re.sub(r"([\s\\])", r"\\\1", f"{name}={value}") for name, value in settings)


def _pins(pins: Mapping[str, str]) -> list[Statement]:
    return [(_PIN, _columns(pins)), (_PIN_OF_PLPGSQL, ()), (_PIN_DURABLE, ())]


def _columns(pins: Mapping[str, str]) -> Sequence[list[str]]:
    return list(pins), list(pins.values())


def forget_environment(environment: MutableMapping[str, str]) -> list[str]:
    """Take libpq's variables out of the environment, except for those that answer what a URL asks for.

    Returns the names of those that were there.
    """
    known = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    found = sorted(name for name in {*known, *_UNLISTED} - KEPT if name in environment)
    for name in found:
        del environment[name]
    return found
