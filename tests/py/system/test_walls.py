"""The walls between the rooms of the gateway, read from its imports."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from harness.places import ROOT

# From the ground up: a room imports itself and rooms below it. A module beside the rooms is a room of its own.
ORDER = (
    "problems", "logs", "private_files", "settings", "tokens", "outside", "database", "api", "worker", "http",
    "operate", "__main__",
)  # fmt: skip

# Rooms that may not import all that is below them.
ONLY = {"database": {"problems"}}
NEVER = {"outside": {"database", "http"}}

OPENS_CONNECTIONS = {"database", "worker", "operate"}


@dataclass(frozen=True)
class Module:
    """A module of the gateway: its dotted name, what it imports, and whether it opens connections."""

    name: str
    imports: frozenset[str]
    opens: bool

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    """``gateway`` itself, which has the version alone, is in no room."""
    return name.partition(".")[2].partition(".")[0]


def read(root: Path) -> dict[str, Module]:
    """All modules under ``root/gateway``, by name."""
    paths = {}
    for path in sorted((root / "gateway").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: _read(name, ast.parse(path.read_text()), set(paths)) for name, path in paths.items()}


def _read(name: str, tree: ast.Module, known: set[str]) -> Module:
    found: set[str] = set()
    meaning: dict[str, str] = {}  # of the names that imports bring in
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.add(alias.name)
                meaning[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} has a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else str(node.module))
                meaning[alias.asname or alias.name] = whole
    called = {_dotted(node.func, meaning) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    opens = any(re.fullmatch(r"psycopg(_pool)?\b.*\.connect|psycopg_pool\..*|yoyo\.get_backend", c) for c in called)
    return Module(name, frozenset(found & known), opens)


def _dotted(node: ast.expr, meaning: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, meaning)}.{node.attr}"
    return meaning.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def between_rooms(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Each room with the rooms that it imports."""
    arrows: dict[str, set[str]] = {}
    for module in modules.values():
        into = {room_of(name) for name in module.imports} - {module.room, ""}
        arrows.setdefault(module.room, set()).update(into)
    return arrows


def faults(root: Path) -> Iterator[str]:
    """Each place where the walls are broken."""
    modules = read(root)
    for module in modules.values():
        if module.room not in ("", *ORDER):
            yield f"{module.name}: its room has no place in the order"
            continue
        if module.opens and module.room not in OPENS_CONNECTIONS:
            yield f"{module.name} opens a connection"
        for name in sorted(module.imports):
            yield from _faults_of_arrow(module, name)
    for what, graph in (
        ("modules", {name: module.imports - {name} for name, module in modules.items()}),
        ("rooms", between_rooms(modules)),
    ):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            yield f"a circle of {what}: {' -> '.join(reversed(error.args[1]))}"
    for module in modules.values():
        if "." in module.name and module.name.rpartition(".")[2] in _taken():
            yield f"{module.name} has the name of a library or of a top folder"


def _faults_of_arrow(module: Module, name: str) -> Iterator[str]:
    room, other = module.room, room_of(name)
    if other in ("", room):
        return
    if room == "" or other not in ORDER or ORDER.index(other) > ORDER.index(room):
        yield f"{module.name} imports {name}, which is above it"
    elif (room in ONLY and other not in ONLY[room]) or other in NEVER.get(room, ()):
        yield f"{module.name} imports {name}, which is behind a wall"


@cache
def _taken() -> set[str]:
    """The names of the libraries that we depend on, and of the folders at the top."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    libraries = {_normal(re.split(r"[\[<>=! ]", dependency)[0]) for dependency in wanted}
    names = {
        name
        for name, distributions in packages_distributions().items()
        if libraries & {_normal(distribution) for distribution in distributions}
    }
    assert {"aiohttp", "jwt", "limits", "psycopg", "yoyo"} <= names
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return names | folders | {"sql", "tests", "deploy", "postgres", "clients", "gateway"}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_walls_stand() -> None:
    assert list(faults(ROOT)) == []


def test_every_import_was_read() -> None:
    modules = read(ROOT)
    assert len(modules) > 60
    assert "gateway.database.lanes" in modules["gateway.database.connections"].imports
    assert "gateway.http.workers" in modules["gateway.operate.cli.serve"].imports  # a late one
    assert modules["gateway.database.connections"].opens


def test_every_connection_is_pinned_where_it_is_opened() -> None:
    """The two that are not open connections pin them; the other two only ask whether a private server is up."""
    opening = {name for name, module in read(ROOT).items() if module.opens}
    pinning = {"gateway.database.connections", "gateway.operate.connecting"}
    asking = {"gateway.operate.local_postgres", "gateway.operate.backup"}
    assert opening == pinning | asking


BROKEN = {
    "an import of what operates": ("http/a.py", "from gateway.operate import b", {"operate/b.py": ""}, "above it"),
    "a late import of what operates": (
        "tokens/a.py", "def f():\n    import gateway.operate.b", {"operate/b.py": ""}, "above it",
    ),
    "an import upwards": ("api/a.py", "from gateway.http.b import c", {"http/b.py": ""}, "above it"),
    "a database that knows a route": ("database/a.py", "from gateway.api import b", {"api/b.py": ""}, "above it"),
    "a database that knows settings": (
        "database/a.py", "from gateway.settings import b", {"settings/b.py": ""}, "behind a wall",
    ),
    "a provider that knows the web": ("outside/a.py", "import gateway.http.b", {"http/b.py": ""}, "above it"),
    "a connection": ("http/a.py", "import psycopg\npsycopg.connect('')", {}, "opens a connection"),
    "a connection by another name": (
        "http/a.py", "from psycopg import AsyncConnection as A\nA.connect('')", {}, "opens a connection",
    ),
    "a circle of modules": ("api/a.py", "from gateway.api import b", {"api/b.py": "import gateway.api.a"}, "a circle"),
    "a circle of rooms": (
        "api/a.py", "from gateway.http import b", {"http/b.py": "from gateway.api import c", "api/c.py": ""},
        "a circle of rooms",
    ),
    "the name of a library": ("http/limits.py", "", {}, "has the name"),
    "the name of a top folder": ("http/sql.py", "", {}, "has the name"),
    "a room without a place": ("elsewhere/a.py", "", {}, "no place in the order"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_wall_is_found(what: str, tmp_path: Path) -> None:
    path, text, others, fault = BROKEN[what]
    for name, content in {path: text, **others}.items():
        file = tmp_path / "gateway" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        (file.parent / "__init__.py").touch()
    assert any(fault in found for found in faults(tmp_path)), list(faults(tmp_path))
