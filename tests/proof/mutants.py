"""Mutants: small faults put into the SQL and into the gateway on purpose, to see that the tests bite.

Each mutant is one change to one file. It goes through what finds most first: the suites in SQL in a
database deployed from a changed ``sql/``, its own suite before the others; then, when those saw nothing,
the tests in Python that ``TESTS`` names, in a copy of the repository. The first failure ends it. What no
test can see was judged by hand: ``survivors.toml`` has it, with the reason.
"""

from __future__ import annotations

import difflib
import io
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tokenize
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from gateway.operate import migrate
from gateway.problems import OperatorError
from harness.databases import Cluster, start_server
from harness.places import ROOT

SURVIVORS = Path(__file__).with_name("survivors.toml")
STILLBORN, JUDGED = "stillborn", "judged"  # outcomes beside the names of what caught a mutant
SECONDS = 900  # for one run of tests; who takes longer hangs, and was caught

# What is mutated by default, and which tests in Python it has to pass, the likeliest first.
TESTS = {
    "sql/functions/*credits/**/*.sql": "credits batches backends verify isolation races cli",
    "sql/functions/*auth/**/*.sql": "sessions registration enumeration batches isolation races",
    "sql/functions/base/**/*.sql": "credits registration sessions batches",
    "sql/policies/**/*.sql": "isolation credits sessions backends migrate",
    "sql/migrations/0002.auth-tables.sql": "sessions registration",
    "sql/migrations/0003.credits-tables.sql": "registration credits backends verify",
    "sql/deploy/*.sql": "deploy migrations_under_load",
    "gateway/tokens/access_tokens.py": "access_tokens tokens",
    "gateway/problems.py": "problems routes bad_input scarcity serving",
    "gateway/http/responses.py": "problems routes bad_input serving attacks_http rate_limits",
    "gateway/database/lanes.py": "lanes connections scarcity races",
    "gateway/database/refusals.py": "lanes bad_input connections scarcity",
}

# What those tests read of the repository.
TREE = (
    "sql", "gateway", "tests", "postgres", "deploy",
    "pyproject.toml", "README.md", "Makefile", "docker-compose.yml", ".env.example",
)  # fmt: skip

# A rule is a name, what it looks for in a text without comments and strings, and what it writes instead.
Rule = tuple[str, str, str]

_SQL: list[Rule] = [
    ("comparison", r"(?<= )<=(?= )", "<"),
    ("comparison", r"(?<= )>=(?= )", ">"),
    ("comparison", r"(?<= )<(?= )", "<="),
    ("comparison", r"(?<= )>(?= )", ">="),
    ("comparison", r"(?<= )<>(?= )", "="),
    ("comparison", r"\b((?:where|and|or|on|if|when) +[\w.()]+ )=(?= )", r"\1<>"),
    ("comparison", r"\bnot between\b", "between"),
    ("comparison", r"\bis distinct from\b", "<>"),
    ("comparison", r"\bis not null\b", "is null"),
    ("comparison", r"\bis null\b", "is not null"),
    ("comparison", r"\bnot exists\b", "exists"),
    ("logic", r"(?<!between \d)(?<!between '\d')\band (?=\D)(?!interval)", "or "),
    ("logic", r"\bor (?!replace\b)", "and "),
    ("condition dropped", r"\s+and (?=[a-z(])(?!interval)[^\n;]*?(?=\n|;| and | or | then\b)", ""),
    ("condition dropped", r"\s+or (?!replace\b)[^\n;]*?(?=\n|;| and | or | then\b)", ""),
    ("condition dropped", r"\bwhere [^\n;]*?\s+and ", "where "),
    ("WHERE dropped", r"\bwhere [^\n;]*", "where true"),
    ("branch negated", r"\bif (?!not exists|exists)([^;]*?) then\b", r"if not (\1) then"),
    ("branch negated", r"\bwhen (?!others|data_exception|dupl|')([^;]*?)(\s+)then\b", r"when not (\1)\2then"),
    ("lock dropped", r"\s+for (no key update|update|share)(?=[\s;])(?! to\b)", ""),
    ("lock dropped", r" skip locked", ""),
    ("ON CONFLICT dropped", r"\s+on conflict [^;\n]*", ""),
    ("statement dropped", r"(?m)^ +(perform|delete from|update|return;|execute)\b[^;]*;", "null;"),
    ("raise dropped", r"(?m)\braise [^;]*;", "null;"),
    ("return flipped", r"\breturn true;", "return false;"),
    ("return flipped", r"\breturn false;", "return true;"),
    ("arithmetic", r" \+ ", " - "),
    ("arithmetic", r"(?<=\w) - ", " + "),
    ("arithmetic", r"\bgreatest\(", "least("),
    ("arithmetic", r"\bleast\(", "greatest("),
    ("definer dropped", r"\bsecurity definer\b", "security invoker"),
    ("definer added", r"\bsecurity invoker\b", "security definer"),
    ("search_path dropped", r"(?m)^set search_path = .*\n", ""),
    ("setting outlives", r"(\bset_config\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*), true\)", r"\1, false)"),
    ("number", r"(?<![\w.$])(\d+)(?![\w.])", "+1"),
    ("number", r"(?<![\w.$])([1-9]\d*)(?![\w.])", "-1"),
    # Not those of tables and views from PUBLIC: it has nothing there to begin with.
    ("REVOKE dropped", r"(?m)^revoke [^;]*\b(function|schema|mana_owner)\b[^;]*;", ""),
    ("GRANT dropped", r"(?m)^grant [^;]*;", ""),
    ("GRANT widened", r"(?m)^(grant [^;]*) to [^;]*;", r"\1 to public;"),
    ("GRANT widened", r"(?m)^grant (update|select) \([^)]*\) on", r"grant \1 on"),
    ("row security not forced", r"(?m)^alter table .* force row level security;", ""),  # the deploy enables it
    ("policy opened", r"(?m)\b(using|with check) \((?!true\)).*\)(?=;?$)", r"\1 (true)"),
    ("policy widened", r"(?m)^    for (all|select) to \w+", r"    for \1 to public"),
    ("policy widened", r"(?m)^    for select to", "    for all to"),
    ("owner changed", r"(?m)^alter (function|view) .* owner to \w+;", ""),
    ("CHECK dropped", r"\s+check (\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))(?=[\s,])(?!;)", " check (true)"),
    ("constraint dropped", r"(?<! is) not null\b(?=[ ,\n])", ""),
    ("constraint dropped", r"\bunique (?=index)", ""),
    ("constraint dropped", r" unique(?=[ ,\n])(?! index)", ""),
    ("constraint dropped", r" references [\w.]+ \([\w, ]+\)(?: on delete cascade)?", ""),
]

_ABOUT_RIGHTS = {
    "definer dropped",
    "definer added",
    "search_path dropped",
    "setting outlives",
    "REVOKE dropped",
    "GRANT dropped",
    "GRANT widened",
    "row security not forced",
    "policy opened",
    "policy widened",
    "owner changed",
}

_PYTHON: list[Rule] = [
    ("comparison", r" == ", " != "),
    ("comparison", r" != ", " == "),
    ("comparison", r" > ", " >= "),
    ("comparison", r" >= ", " > "),
    ("comparison", r" < ", " <= "),
    ("comparison", r" is not ", " is "),
    ("comparison", r" is (?!not\b)", " is not "),
    ("logic", r" and ", " or "),
    ("logic", r" or ", " and "),
    ("logic", r"\bnot (?!in\b)", ""),
    ("condition dropped", r" or [^\n:]*(?=:\n)", ""),
    ("condition dropped", r"\bif [^\n:]*? or ", "if "),
    ("branch negated", r"\bif ([^\n:]+):\n", r"if not (\1):\n"),
    ("argument dropped", r"(?m)^ +(audience|issuer|leeway|options)=.*,\n", ""),
    ("statement dropped", r"(?m)^( +)raise .*$", r"\1pass"),
    ("statement dropped", r"(?m)^( +)(?:del |self\._verified)[^\n]*$", r"\1pass"),
    ("number", r"(?<![\w.])(\d+)(?![\w.])", "+1"),
    ("number", r"(?<![\w.])([1-9]\d*)(?![\w.])", "-1"),
    ("arithmetic", r" \+ ", " - "),
    ("exception let through", r", (ValueError|TypeError|AttributeError|OverflowError)\b", ""),
]

_WORDS = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))  # the latter from Python 3.12 on
_SQL_BLANKS = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: ``text`` is what ``path`` says with it."""

    path: Path
    rule: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"

    def difference(self) -> list[str]:
        """The lines that go, with a minus, and those that come, with a plus."""
        before = (ROOT / self.path).read_text().splitlines()
        lines = list(difflib.unified_diff(before, self.text.splitlines(), lineterm="", n=0))[2:]
        return [line for line in lines if line[:1] in "+-"]

    def change(self) -> str:
        """The same in one line, as ``survivors.toml`` has it."""
        before, after = (
            " ".join(" ".join(line[1:] for line in self.difference() if line[0] == sign).split()) for sign in "-+"
        )
        return f"{before} => {after}"


def mutants(path: Path) -> Iterator[Mutant]:
    """All mutants of a file, no two alike."""
    text = (ROOT / path).read_text()
    python = path.suffix == ".py"
    visible = _without_python_strings(text) if python else _SQL_BLANKS.sub(_blank, text)
    seen = {text}
    for name, pattern, replacement in _PYTHON if python else _SQL:
        for match in re.finditer(pattern, visible):
            if name == "number":
                written = str(int(match[1]) + int(replacement))
            else:
                # Groups are taken from the text itself, which has the strings.
                written = re.sub(
                    r"\\(\d)", lambda group, m=match: text[slice(*m.span(int(group[1])))], replacement
                ).replace("\\n", "\n")
            mutated = text[: match.start()] + written + text[match.end() :]
            if mutated not in seen and not (name == "GRANT dropped" and _is_for_its_owner(match[0], text)):
                seen.add(mutated)
                yield Mutant(path, name, text.count("\n", 0, match.end() - len(match[0].lstrip())) + 1, mutated)


def judged() -> dict[tuple[Path, str], str]:
    """The file and the change of each mutant that no test can see, and why."""
    survivors = tomllib.loads(SURVIVORS.read_text())
    return {
        (Path(path), change): reason
        for reason, files in survivors.items()
        for path, changes in files.items()
        for change in changes
    }


def _is_for_its_owner(found: str, text: str) -> bool:
    """Whether this is a grant to who may anyway: without it, nothing changes."""
    owner = re.search(r"owner to (\w+);", text)
    return owner is not None and found.startswith("grant") and found.endswith(f" to {owner[1]};")


def _blank(match: re.Match[str]) -> str:
    found = match[0]
    if found.startswith("--"):
        return " " * len(found)
    # An amount of time is a number; other strings are words.
    return found if re.fullmatch(r"'\d+ \w+'", found) else found[0] + "x" * (len(found) - 2) + found[0]


def _without_python_strings(text: str) -> str:
    lines = [list(line) for line in text.splitlines(keepends=True)]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*_WORDS, tokenize.COMMENT):
            continue
        for row in range(token.start[0], token.end[0] + 1):
            first = token.start[1] if row == token.start[0] else 0
            last = token.end[1] if row == token.end[0] else len(lines[row - 1])
            for column in range(first, last):
                if lines[row - 1][column] != "\n":
                    lines[row - 1][column] = "_"
    return "".join("".join(line) for line in lines)


def collect(patterns: Sequence[str], only: str, sample: int | None, seed: int) -> list[Mutant]:
    """The mutants of all files that a pattern finds, or a sample of them that takes from each file alike."""
    found = [
        [mutant for mutant in mutants(path.relative_to(ROOT)) if only in str(mutant)]
        for path in sorted({path for pattern in patterns or TESTS for path in ROOT.glob(pattern)})
    ]
    if sample is None:
        return [mutant for group in found for mutant in group]
    drawn = random.Random(seed)
    for group in found:
        drawn.shuffle(group)
    drawn.shuffle(found)
    rounds = range(max(map(len, found), default=0))
    return [group[turn] for turn in rounds for group in found if turn < len(group)][:sample]


class Hunt:
    """A server with a template that has the migrations and nothing else yet."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._execute("create database template_migrated template template0")
        migrate.apply(cluster.url("template_migrated"), lambda _: None, upto="9999")

    def suites(self, mutant: Mutant, job: int, groups: int | None = None) -> str | None:
        """What of the suites in SQL, or of so many groups of them, caught it; STILLBORN when it cannot be deployed."""
        name = f"mutant_{job}"
        migration = "migrations" in mutant.path.parts
        self._execute(f"create database {name} template {'template0' if migration else 'template_migrated'}")
        url = self._cluster.url(name)
        try:
            with _tree(mutant, "sql") as tree:
                migrate.apply(url, lambda _: None, tree / "sql")
            for suites in _suites_for(mutant)[:groups]:
                if not _passes(["pg_prove", "--dbname", url, *suites]):
                    return "pgTAP"
        except (OperatorError, psycopg.Error):
            return STILLBORN
        finally:
            self._execute(f"drop database {name} with (force)")
            self._forget_settings()
        return None

    def tests(self, mutant: Mutant) -> str | None:
        """Which of the tests in Python caught it."""
        names = next((tests for pattern, tests in TESTS.items() if ROOT / mutant.path in ROOT.glob(pattern)), "")
        with _tree(mutant, *TREE) as tree:
            for name in names.split():
                [test] = (ROOT / "tests" / "py").rglob(f"test_{name}.py")
                command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
                if not _passes([*command, test.relative_to(ROOT)], tree, {**os.environ, "PYTHONPATH": str(tree)}):
                    return test.name
        return None

    def _forget_settings(self) -> None:
        """Those of the role, which the next mutant's deploy need not set. Another job's may be at it just now."""
        while True:
            try:
                return self._execute("alter role mana_gateway reset all")
            except psycopg.errors.InternalError_:  # tuple concurrently updated
                time.sleep(0.01)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._cluster.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def _tree(mutant: Mutant, *names: str) -> Iterator[Path]:
    """A copy of the repository, or of what is named of it, with the change."""
    with TemporaryDirectory(prefix="mana-mutant-") as directory:
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, Path(directory, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, directory)
        Path(directory, mutant.path).write_text(mutant.text)
        yield Path(directory)


def _suites_for(mutant: Mutant) -> list[list[str]]:
    """All suites in SQL, in groups: the likeliest to see it first, those about rights or the file's own."""
    paths = sorted((ROOT / "tests/sql").rglob("*.sql"))
    everything = [str(path.relative_to(ROOT)) for path in paths]
    rights = [suite for suite in everything if re.search(r"catalog/(privileges|rules|rows|constraints)", suite)]
    called = re.compile(rf"\b{mutant.path.stem}\b")
    own = [suite for suite, path in zip(everything, paths, strict=True) if called.search(path.read_text())]
    own = sorted(set(own) - set(rights), key=lambda suite: Path(suite).stem != mutant.path.stem)
    rest = [suite for suite in everything if suite not in (*own, *rights)]
    rest.sort(key=lambda suite: Path(suite).parent.name != mutant.path.parent.name)
    rest = [*own[3:], *rest]
    about_rights = mutant.rule in _ABOUT_RIGHTS or "migrations" in mutant.path.parts
    groups = [rights, own[:3]] if about_rights else [own[:3], rights]
    return [group for group in (*groups, *(rest[at : at + 4] for at in range(0, len(rest), 4))) if group]


def _passes(command: list[str | Path], cwd: Path = ROOT, env: dict[str, str] | None = None) -> bool:
    try:
        finished = subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return finished.returncode == 0


def soak(chosen: Sequence[Mutant], jobs: int, minutes: float) -> int:
    """Hunt them all, print the survivors and the figures; the exit code is 1 when a mutant survived unjudged."""
    started = time.monotonic()
    outcomes: dict[Mutant, str | None] = {}
    reasons = judged()
    pool = ThreadPoolExecutor(jobs)
    with start_server() as cluster:
        hunt, free = Hunt(cluster), list(range(jobs))

        def in_sql(mutant: Mutant) -> None:
            if time.monotonic() > started + 60 * minutes:
                return
            job = free.pop()
            outcomes[mutant] = hunt.suites(mutant, job) if mutant.path.suffix == ".sql" else None
            free.append(job)
            if outcomes[mutant] is None and (reason := reasons.get((mutant.path, mutant.change()))):
                outcomes[mutant] = JUDGED
                print(f"{JUDGED}: {mutant}: {reason}", flush=True)
            else:
                print(f"{outcomes[mutant] or 'not seen by pgTAP'}: {mutant}", flush=True)

        def in_python(mutant: Mutant) -> None:
            outcomes[mutant] = hunt.tests(mutant)
            print(f"{outcomes[mutant] or 'SURVIVED'}: {mutant}", *mutant.difference(), sep="\n    ", flush=True)

        try:
            list(pool.map(in_sql, chosen))
            list(pool.map(in_python, [mutant for mutant, outcome in outcomes.items() if outcome is None]))
        finally:
            pool.shutdown(cancel_futures=True)

    for area in sorted({mutant.path.parent for mutant in outcomes}):
        print(f"{area}: {_figures([outcomes[mutant] for mutant in outcomes if mutant.path.parent == area])}")
    print(f"mutants: {_figures(list(outcomes.values()))}, {time.monotonic() - started:.0f} s")
    return int(None in outcomes.values())


def _figures(outcomes: list[str | None]) -> str:
    not_deployed, equal, survived = (outcomes.count(outcome) for outcome in (STILLBORN, JUDGED, None))
    tried = len(outcomes) - not_deployed
    return (
        f"{len(outcomes)} made, {not_deployed} {STILLBORN}; {100 * (tried - equal - survived) / max(tried, 1):.1f} % of"
        f" {tried} caught, {equal} {JUDGED} by hand, {survived} survived"
    )
