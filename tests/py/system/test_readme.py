"""The README's commands run as they stand there, and the pages of all rooms keep their form."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from harness.clients import Service
from harness.databases import Database
from harness.gateways import Gateway
from harness.places import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / name
    for name in ("README.md", *(f"{room}/README.md" for room in ("sql", "deploy", "tests", "gateway", "gateway/api")))
]
PAGES += [ROOT / "tests" / "bench" / "README.md", *(ROOT / "deploy" / f"{name}.md" for name in ("RUNBOOK", "SECURITY"))]


def _blocks(label: str, language: str) -> list[str]:
    return re.findall(rf"<!-- {label}: run by \S+ -->\n```{language}\n(.*?)```", README, re.DOTALL)


def test_the_quick_start_registers_spends_and_logs_out(gateway: Gateway, database: Database) -> None:
    (script,) = _blocks("quick start", "sh")
    assert "http://127.0.0.1:3001" in script
    finished = subprocess.run(
        ["sh", "-eu", "-c", script.replace("http://127.0.0.1:3001", gateway.url)],
        capture_output=True,
        text=True,
        check=True,
    )
    *answers, goodbye = re.findall(r"[{\[].*?[}\]](?=[{\[]|$)", finished.stdout.strip(), re.DOTALL)
    assert json.loads(goodbye) == {"message": "Logged out successfully"}
    assert '"freeCreditsRemaining" : 140' in "".join(answers)
    database.assert_ledger_is_sound()


async def test_the_cookbook_of_backends_spends_once_next_to_its_own_rows(service: Service, database: Database) -> None:
    """However often it is run: its COMMIT may have succeeded although the answer was lost."""
    session = await service.new_session()
    once, each_time = _blocks("cookbook", "sql")
    database.query("drop role if exists shop")
    try:
        _psql(database, once, user="postgres")
        for _ in range(3):
            _psql(database, each_time, user="shop", user_id=session.user_id)
            assert database.query("select user_id::text, item from public.orders") == [
                (session.user_id, "A sticker set")
            ]
            assert (await session.balance())["freeCreditsRemaining"] == 125

        unpaid = each_time.replace("=> 25", "=> 126").replace("order-17", "order-18")
        with pytest.raises(AssertionError, match="insufficient_credits"):
            _psql(database, unpaid, user="shop", user_id=session.user_id)
        assert database.query("select count(*) from public.orders") == [(1,)], "no order without its spend"
        database.assert_ledger_is_sound()
    finally:
        database.query("drop table public.orders")
        database.query("drop owned by shop")
        database.query("drop role shop")


def test_the_readme_has_fewer_than_150_lines() -> None:
    assert len(README.splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_at_most_100_columns_wide_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert [line for line in text.splitlines() if len(line) > 100] == []
    for link in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        target = (page.parent / link[0]).resolve() if link[0] else page
        assert target.exists(), link
        if link[1]:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert link[1] in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def _psql(database: Database, script: str, user: str, **variables: str) -> str:
    server = conninfo_to_dict(database.admin_url)
    password = str(server["password"])
    if user != server["user"]:
        database.query(f"alter role {user} password '{password}'")
    options = [f"--set={name}={value}" for name, value in variables.items()]
    finished = subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *options, "-f", "-"],
        input=script,
        env={
            "PATH": "/usr/bin:/bin",
            "PGHOST": str(server["host"]),
            "PGPORT": str(server["port"]),
            "PGDATABASE": database.name,
            "PGUSER": user,
            "PGPASSWORD": password,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
