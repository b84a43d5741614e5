"""The pgTAP suites on a database that has clients: those that lock its tables refuse to run."""

from __future__ import annotations

import subprocess

import psycopg

from gateway.operate.postgres_programs import find_binaries
from harness.databases import Database
from harness.places import ROOT

SUITES = ROOT / "tests" / "sql"


def run(database: Database, suite: str) -> tuple[int, str]:
    """As pg_prove runs it."""
    options = ["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", SUITES / suite]
    command = [find_binaries() / "psql", *options, database.admin_url]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_suite_that_locks_tables_refuses_a_live_database(database: Database) -> None:
    with psycopg.connect(database.gateway_url):
        code, errors = run(database, "credits/ledger/verify_ledger.sql")
    assert (code, len(errors.splitlines())) == (3, 1), errors
    assert errors.strip().endswith("not on a live database: this suite locks its tables, and mana_gateway is connected")


def test_a_suite_that_locks_none_runs_beside_clients(database: Database) -> None:
    with psycopg.connect(database.gateway_url):
        assert run(database, "base/clock/clock.sql") == (0, "")
