"""deploy/SECURITY.md names tests that are there, and marks each claim that has none."""

from __future__ import annotations

import re

import pytest

from gateway.operate.stack import STACK_SECRETS
from harness.places import ROOT

PAGE = (ROOT / "deploy" / "SECURITY.md").read_text()
TEST = re.compile(r"`((?:py|sql)/[\w/]+\.(?:py|sql))`")
POINT = r"\d{1,2}(?:\.\d{1,2}){2}"
ROW = re.compile(rf"^\| ({POINT}[^|]*) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def section(title: str) -> str:
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[2]


def test_each_test_that_is_named_is_there() -> None:
    named = set(TEST.findall(PAGE))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / "tests" / name).is_file()] == []
    assert set(re.findall(r"`((?:py|sql|tests)/[^`]*)`", PAGE)) == named | {"tests/"}, "written in another form"


def test_each_claim_is_shown_by_a_test_or_marked() -> None:
    blocks = section("Who can do what").strip().split("\n\n")
    claims = []
    for block, following in zip(blocks, [*blocks[1:], ""], strict=True):
        if block.startswith("* "):
            claims += re.split(r"\n(?=\* )", block)
        elif not following.startswith("* "):  # or else it only opens the list
            claims.append(block)
    assert len(claims) > 25
    assert [claim for claim in claims if not (TEST.search(claim) or "no test" in claim)] == []


def test_each_point_that_is_met_is_shown_by_a_test_or_marked() -> None:
    rows = ROW.findall(section("What is met"))
    assert len(rows) > 90
    assert [points for points, _, shown in rows if not re.fullmatch(r"`[^`]+`|no test(?:: .+)?", shown)] == []


def test_each_point_is_in_one_place() -> None:
    lists = section("What is not met") + section("What does not apply")
    written = [points for points, _, _ in ROW.findall(PAGE)]
    written += re.findall(rf"^\* (?:\*\*)?((?:{POINT}(?:-{POINT})?,?\s+|{POINT}(?:-{POINT})?)+)", lists, re.MULTILINE)
    named = [point for points in written for point in re.findall(POINT, points)]
    assert len(named) > 150
    assert sorted({point for point in named if named.count(point) > 1}) == []


@pytest.mark.parametrize("secret", STACK_SECRETS)
def test_each_secret_of_the_stack_has_a_row(secret: str) -> None:
    assert f"`{secret}`" in section("Secrets")
