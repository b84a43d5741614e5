"""`mana bench`: a table of a running service, its books sound after it, and clear words when it cannot be done."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.operate.bench import KINDS, Round, percentile, send
from gateway.operate.cli import main
from harness.clients import Service
from harness.databases import Database
from harness.gateways import Gateway
from harness.places import free_port
from harness.programs import mana


def test_each_kind_of_work_is_done_without_an_error(database: Database, gateway: Gateway) -> None:
    done = mana("bench", gateway.url, "--seconds", "1", "--users", "4", "--connections", "8")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    assert rows[0] == ["work", "req/s", "p50 ms", "p95 ms", "p99 ms", "refused", "errors"]
    assert [row[0] for row in rows[2:]] == list(KINDS)
    for row in rows[2:]:
        numbers = [float(cell.replace(",", "")) for cell in row[1:]]
        assert numbers[0] > 0, row
        assert numbers[1] <= numbers[2] <= numbers[3], row
        assert numbers[-1] == 0, row
    database.assert_ledger_is_sound()


async def test_spends_end_when_the_credits_do(gateway: Gateway, service: Service) -> None:
    session = await service.new_session()
    options = {"seconds": 2, "connections": 1, "BUDGET": "10"}
    measured = await asyncio.to_thread(send, gateway.url, "use", [session.access_token], **options)
    assert measured.errors == 0
    assert 0 < measured.answers <= (await session.balance())["totalSpent"] <= 10


@pytest.mark.parametrize("kind", ["page", "validate"])  # one is refused, the other answered with 200 and "no"
def test_an_answer_that_is_not_as_it_should_be_is_an_error(gateway: Gateway, kind: str) -> None:
    measured = send(gateway.url, kind, ["no token"], seconds=1, connections=1)
    assert (measured.answers, measured.errors > 0) == (0, True)


def test_errors_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Round(answers=10, seconds=1, errors=1, p50=1, p95=1, p99=1)
    monkeypatch.setattr("gateway.operate.bench.run", lambda *_: {"balance": wrong})
    done = CliRunner().invoke(main, ["bench"])
    assert done.exit_code == 1
    assert "error: 1 answers were wrong" in done.output


def test_a_service_that_is_away_is_one_clear_line() -> None:
    done = mana("bench", f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the service does not answer" in done.stderr
    assert "hint:  is `mana serve` running there?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "limits", [{"RATE_LIMIT_MAX": "100"}, {"RATE_LIMIT_MAX": "9000000", "RATE_LIMIT_AUTH_MAX": "3"}]
)
def test_a_service_with_limits_is_told_which_to_raise(database: Database, limits: dict[str, str]) -> None:
    with Gateway(database.gateway_url, limits) as limited:
        done = mana("bench", limited.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the service limits how many requests we may make" in done.stderr
    assert "RATE_LIMIT_MAX=0" in done.stderr


def test_without_wrk_it_names_the_package(tmp_path: Path) -> None:
    done = mana("bench", environment={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: wrk is not installed"
    assert re.search("^hint: .*apt-get install wrk", done.stderr, re.MULTILINE)


def test_percentiles() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert (percentile(values, 50), percentile(values, 99), percentile([], 99)) == (51, 100, 0)
