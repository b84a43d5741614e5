"""The tests bite: a few of the mutants of which ``make soak ARGS=mutants`` tries all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.databases import start_server
from harness.places import ROOT
from proof.mutants import TESTS, Hunt, Mutant, collect, judged, mutants

# One of each kind that would cost most: the file and what is done to it.
CAUGHT = (
    ("functions/_credits/spending/spend.sql", "comparison"),
    pytest.param("policies/credits/balances.sql", "policy opened", marks=pytest.mark.soak),
    pytest.param("migrations/0003.credits-tables.sql", "CHECK dropped", marks=pytest.mark.soak),
)


@pytest.fixture(scope="module")
def hunt() -> Iterator[Hunt]:
    with start_server() as cluster:
        yield Hunt(cluster)


def test_what_is_not_changed_passes(hunt: Hunt) -> None:
    path = Path("sql/functions/_credits/spending/spend.sql")
    assert hunt.suites(Mutant(path, "nothing", 1, (ROOT / path).read_text()), 0, groups=2) is None


@pytest.mark.parametrize(("path", "rule"), CAUGHT)
def test_a_fault_in_the_sql_is_caught(hunt: Hunt, path: str, rule: str) -> None:
    mutant = next(mutant for mutant in mutants(Path("sql", path)) if mutant.rule == rule)
    assert hunt.suites(mutant, 0) == "pgTAP", mutant.difference()


def test_a_fault_in_the_gateway_is_caught(hunt: Hunt) -> None:
    mutant = next(mutant for mutant in mutants(Path("gateway/problems.py")) if mutant.rule == "number")
    assert hunt.tests(mutant) == "test_problems.py"


def test_every_file_that_is_mutated_has_mutants() -> None:
    assert all(collect([pattern], "", None, 0) for pattern in TESTS)


def test_what_was_judged_is_a_mutant_still() -> None:
    made = {(mutant.path, mutant.change()) for path, _ in judged() for mutant in mutants(path)}
    assert judged().keys() <= made
