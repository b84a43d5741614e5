"""What the pages name is there: commands with their options, targets, proofs, settings, metrics, functions, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gateway.operate.cli import main
from harness.databases import Database
from harness.places import ROOT
from proof.__main__ import main as proofs

PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in {"build", "node_modules"} for part in path.relative_to(ROOT).parts)
)
SETTING = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
SOURCES = "".join(
    path.read_text() for path in (ROOT / "docker-compose.yml", ROOT / ".env.example", *(ROOT / "gateway").rglob("*.py"))
)
OF_DOCKER = {"COMPOSE_FILE"}
OURS = re.compile(r"\b(?:base|auth|_auth|credits|_credits|api|deploy)\.[a-z_]+\b(?!\.[a-z])")


def code(page: Path) -> Iterator[str]:
    """What stands in backticks, and the lines of blocks."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    text = re.sub(r"^```\w*\n(.*?)^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))


def check_command(group: click.Group, words: list[str]) -> None:
    """Follow the words to a command, and look for their options in it."""
    command: click.Command = group
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no {words[0]}"
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - options - {"--help"}
    assert not unknown, f"{command.name} has no {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_its_commands_are_there(self, page: Path) -> None:
        for line in code(page):
            for found in re.findall(r"(?:^|[ (])mana ([a-z][^|&;)#]*)", line):
                check_command(main, found.split())

    def test_its_targets_and_proofs_are_there(self, page: Path) -> None:
        targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        for line in code(page):
            assert set(re.findall(r"\bmake ([a-z][\w-]*)", line)) <= targets, line
            for quoted, word in re.findall(r"make soak ARGS=(?:\"([^\"]*)\"|(\S+))", line):
                check_command(proofs, (quoted or word).replace("NAME", "bank").split())

    def test_its_functions_and_tables_are_there(self, page: Path, database: Database) -> None:
        names = {name for line in code(page) for name in OURS.findall(line)}
        missing = database.query(
            "select name from unnest(%s::text[]) as name"
            " where to_regproc(name) is null and to_regclass(name) is null and to_regtype(name) is null"
            " and not exists (select from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace"
            "                  where n.nspname || '.' || p.proname = name)",
            sorted(names),
        )
        assert missing == []

    def test_its_settings_are_read(self, page: Path) -> None:
        names = {name for line in code(page) for name in SETTING.findall(line)} - OF_DOCKER
        read = set(SETTING.findall(SOURCES))
        assert {name for name in names if name not in read and name.removesuffix("_FILE") not in read} == set()

    def test_its_metrics_and_roles_are_there(self, page: Path, database: Database) -> None:
        roles = {name for (name,) in database.query("select rolname from pg_roles")} | {"mana_monitor"}
        names = {name for line in code(page) for name in re.findall(r"\bmana_[a-z_]+\b", line)} - roles
        served = set(re.findall(r"\b[a-z]+_[a-z_]+\b", SOURCES))
        assert {name for name in names if name not in served and name.removesuffix("_total") not in served} == set()
