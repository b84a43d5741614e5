"""The header of each SQL function is true: who calls it is who does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.operate.migrate import SQL

GRANTED_TO_BACKENDS = re.compile(r"grant execute[^;]*\bto [^;]*\bmana_backend\b")
IDENTITY = {"auth.uid", "auth.user_ids", "auth.session_id"}
NAMED = re.compile(r"\b(?:base|_?auth|_?credits|_?payments|api)\.\w+")
EVERY = {  # words that stand for all functions of a schema, or for a kind of them
    "api functions": "api.", "every api function": "api.", "the shapes": "api.",
    "auth functions": "auth.", "payments functions": "payments.",
    "every credits function": "credits.", "credits functions": "credits.",
}  # fmt: skip


def functions() -> Iterator[tuple[str, Path]]:
    for path in sorted((SQL / "functions").rglob("*.sql")):
        yield f"{path.parents[1].name}.{path.stem}", path


FILES = dict(functions())


def header(name: str) -> str:
    """The first paragraph of a file: "Called by" and who."""
    paragraph = FILES[name].read_text().partition("\n--\n")[0]
    return " ".join(line.removeprefix("--").strip() for line in paragraph.splitlines())


def code(text: str) -> str:
    """The text without comments and strings."""
    return re.sub(r"--[^\n]*|'(?:[^']|'')*'", "", text)


def callers(name: str) -> set[str]:
    called = re.compile(rf"(?<![\w.]){re.escape(name)}\(")
    return {other for other, path in FILES.items() if other != name and called.search(code(path.read_text()))}


def policies_that_call(name: str) -> list[Path]:
    return [path for path in (SQL / "policies").rglob("*.sql") if f"{name}(" in code(path.read_text())]


def covered(said: str, caller: str) -> bool:
    schema = caller.partition(".")[0] + "."
    every = {whose for words, whose in EVERY.items() if words in said}
    return (
        caller in NAMED.findall(said) or "every function" in said or any(schema.lstrip("_") == whose for whose in every)
    )


@pytest.mark.parametrize("name", FILES)
def test_a_header_names_those_who_call(name: str) -> None:
    said = header(name)
    assert said.startswith("Called by ")
    calling = callers(name)
    assert {caller for caller in NAMED.findall(said) if caller not in calling} == set(), "named, and does not call"
    assert {caller for caller in calling if not covered(said, caller)} == set(), "calls, and is not named"
    assert ("policies" in said) == bool(policies_that_call(name))
    # Who the user of a transaction is, anybody may ask.
    granted = bool(GRANTED_TO_BACKENDS.search(FILES[name].read_text())) and name not in IDENTITY
    assert ("trusted backends" in said) == granted


def test_a_function_that_nobody_calls_is_a_door() -> None:
    doors = (
        "administrators",
        "trusted backends",
        "the gateway at its start",
        "/api/v1/",
        "policies",
        "the worker",
        "second call",
    )
    assert [name for name in FILES if not callers(name) and not any(door in header(name) for door in doors)] == []
