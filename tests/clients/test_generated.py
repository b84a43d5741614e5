"""Clients that openapi-generator makes with its defaults compile, and spend credits at a real gateway.

They are made from a document that lacks two fields, as if they were older than the service.
"""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

import pytest

from clients.tools import BUILT, HERE, PYTHON, generate, maven, mypy, node_tool, run
from gateway.http.docs.document import document
from harness.gateways import Gateway

# The free credits before and after, the rows of the ledger (the bonus and one spend), and a refusal.
SEEN = "150 140 2 insufficient_credits"


@pytest.fixture(scope="module")
def older_document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document without a field of two answers, which the gateway sends all the same."""
    older = json.loads(document())
    for name, field in (("Balance", "dailyFreeCredits"), ("Transaction", "balanceBefore")):
        schema = older["components"]["schemas"][name]
        del schema["properties"][field]
        schema["required"].remove(field)
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(json.dumps(older))
    return path


@pytest.fixture
def arguments(gateway: Gateway) -> tuple[str, str]:
    """Of each program: where the gateway is, and the address to register."""
    return gateway.url, f"{secrets.token_hex(8)}@example.com"


def test_typescript(older_document: Path, arguments: tuple[str, str]) -> None:
    package = BUILT / "typescript"
    generate("typescript-fetch", older_document, package / "client")
    for name in ("main.ts", "tsconfig.json"):
        shutil.copy(HERE / "typescript" / name, package)
    node_tool("tsc", "--project", package)
    assert run("node", package / "compiled" / "main.js", *arguments).strip() == SEEN


def test_python(older_document: Path, arguments: tuple[str, str]) -> None:
    package = BUILT / "python"
    generate("python", older_document, package)
    shutil.copy(HERE / "python" / "round_trip.py", package)
    mypy("openapi_client", "round_trip.py", cwd=package)
    assert run(PYTHON, "round_trip.py", *arguments, cwd=package).strip() == SEEN


def test_go(older_document: Path, arguments: tuple[str, str]) -> None:
    module = BUILT / "go"
    options = ("--git-host", "example.com", "--git-user-id", "mana", "--git-repo-id", "client")
    generate("go", older_document, module, *options)
    (module / "main").mkdir()
    shutil.copy(HERE / "go" / "main.go", module / "main")
    run("go", "vet", ".", "./main", cwd=module)
    run("go", "build", "-o", "round-trip", "./main", cwd=module)
    assert run(module / "round-trip", *arguments).strip() == SEEN


@pytest.mark.parametrize("language", ["java", "kotlin"])
def test_on_the_java_virtual_machine(language: str, older_document: Path, arguments: tuple[str, str]) -> None:
    generate(language, older_document, BUILT / language)
    assert maven(language, *arguments).strip() == SEEN
