"""Fuzz: the API answers as its document says, and SQL functions fail as their headers say, whatever they get.

The seed is fixed, so that a failure is there again; make soak ARGS="fuzz --seed 2" goes further.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.operate.migrate import SQL
from gateway.problems import CODES
from harness.clients import Service
from harness.databases import Database
from harness.gateways import Gateway
from proof import http_fuzz, sql_fuzz

SEED = 1
EXAMPLES = 4  # a route
CALLS = 7  # of a function
EVERY = 2  # of so many values, one is tried in each place; the long form tries all
FUNCTIONS = [f"{path.parents[1].name}.{path.stem}" for path in (SQL / "functions").rglob("*.sql")]


@pytest.mark.parametrize(
    ("operations", "signed_in", "at_least"),
    [
        pytest.param(http_fuzz.EVERYTHING, False, 100, id="nobody", marks=pytest.mark.soak),
        pytest.param(http_fuzz.ALL_BUT_LOGOUT, True, 100, id="a user"),
        pytest.param(http_fuzz.LOGOUT, True, 20, id="a user who logs out"),
    ],
)
async def test_every_answer_is_as_documented(
    gateway: Gateway, service: Service, operations: Sequence[str], signed_in: bool, at_least: int
) -> None:
    token = (await service.new_session()).access_token if signed_in else None
    done = http_fuzz.run(gateway.url, EXAMPLES, SEED, operations, token)
    assert done.returncode == 0, done.stdout + done.stderr
    assert http_fuzz.calls(done.stdout) > at_least
    if token:
        await http_fuzz.assert_was_let_in(service, token, operations)
    assert [line for line in gateway.output if '"level":"error"' in line] == []


async def test_a_function_raises_what_its_header_declares_and_nothing_else(
    database: Database, service: Service
) -> None:
    user, other = await service.new_session(), await service.new_session()
    fuzz = sql_fuzz.SqlFuzz(database, user, other, SEED)
    assert [str(finding) for finding in fuzz.run(CALLS, EVERY)] == [], f"seed {SEED}"
    assert fuzz.calls > 2000
    assert fuzz.fuzzed == set(FUNCTIONS)
    # Whatever bears everything, be it that it checks by now, does not belong to those that may fail.
    assert fuzz.trusting == set(sql_fuzz.TRUSTING)
    # Otherwise it would have knocked at doors that were all closed.
    assert {
        (400, "invalid_request"), (401, "authentication_required"), (401, "invalid_token"), (401, "session_ended"),
        (401, "role_changed"), (401, "invalid_credentials"), (401, "invalid_refresh_token"),
        (402, "insufficient_credits"), (404, "not_found"), (409, "email_taken"), (409, "version_conflict"),
    } <= fuzz.reached  # fmt: skip


def test_what_headers_declare_are_codes_of_the_list() -> None:
    declared = {pair for function in FUNCTIONS for pair in sql_fuzz.declared(function)}
    assert len(declared) > 10
    assert {pair for pair in declared if CODES.get(pair[1], (0, ""))[0] != pair[0]} == set()
