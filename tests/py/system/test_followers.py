"""Followers of the ledger: each entry comes once, however late its transaction commits."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from harness.clients import Service, Session
from harness.databases import Database
from harness.doors import backend_login
from harness.places import ROOT

Entry = tuple[str, str]
USE = "select id::text from credits.use_credits(p_amount => 1, p_app_id => 'shop', p_description => 'a book')"


class Follower:
    """Runs the query of sql/README.md as a member of mana_reader."""

    def __init__(self, connection: psycopg.Connection[Any], last: int = 0) -> None:
        found = re.search(
            r"<!-- follower: run by \S+ -->\n```sql\n(.*?)```", (ROOT / "sql/README.md").read_text(), re.S
        )
        assert found
        self.query = found[1].replace(":last", "%s").encode()
        self.connection = connection
        self.last = last
        self.read: list[Entry] = []

    def follow(self) -> None:
        cursor = self.connection.execute(self.query, (self.last,))
        assert cursor.description
        names = [column.name for column in cursor.description]
        for row in cursor.fetchall():
            entry = dict(zip(names, row, strict=True))
            self.last = max(self.last, entry["xact_id"])
            self.read.append((str(entry["transaction_id"]), entry["debit_account"]))

    def transactions(self) -> list[str]:
        return [transaction_id for transaction_id, _ in self.read]


@pytest.fixture
def follower(database: Database) -> Iterator[Follower]:
    with database.connect() as connection:
        connection.execute("set role mana_reader")
        [(last,)] = database.query("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")
        yield Follower(connection, last)


@pytest.fixture(scope="module")
def backend_url(database: Database) -> Iterator[str]:
    with backend_login(database) as url:
        yield url


@contextmanager
def spending(url: str, user: Session) -> Iterator[str]:
    """A transaction that has spent and commits at the end."""
    with psycopg.connect(url) as connection:
        connection.execute("select auth.act_as(%s)", (user.user_id,))
        row = connection.execute(USE).fetchone()
        assert row
        yield row[0]


async def test_an_entry_that_is_committed_late_is_not_missed(
    service: Service, database: Database, backend_url: str, follower: Follower
) -> None:
    early, late = await service.new_session(), await service.new_session()
    follower.follow()
    with spending(backend_url, early) as slow:
        with spending(backend_url, late) as fast:
            pass
        [(seen,)] = database.query("select max(created_at) from credits.ledger_journal")
        follower.follow()
        assert not {slow, fast} & set(follower.transactions()), "it waits for what may come before"
    [(missed,)] = database.query("select created_at < %s from credits.transactions where id = %s", seen, slow)
    assert missed, "a follower of created_at has passed it"
    follower.follow()
    follower.follow()
    assert [found for found in follower.transactions() if found in {slow, fast}] == [slow, fast]


async def test_a_follower_beside_many_spends_reads_each_entry_once(
    service: Service, database: Database, backend_url: str, follower: Follower
) -> None:
    users = [await service.new_session() for _ in range(4)]
    with ExitStack() as stack:
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(0.005):
                follower.follow()

        def spend(user: Session) -> None:
            for _ in range(25):
                with spending(backend_url, user):
                    pass

        reading = threading.Thread(target=follow)
        reading.start()
        stack.callback(reading.join)
        stack.callback(stop.set)
        clients = [threading.Thread(target=spend, args=(user,)) for user in users]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    follower.follow()
    written = database.query(
        "select transaction_id::text, debit_account::text from credits.ledger_entries where user_id = any(%s::uuid[])",
        [user.user_id for user in users],
    )
    assert len(written) == len(users) * 26, "with the bonus"
    counted = Counter(follower.read)
    assert {entry: counted[entry] for entry in written} == dict.fromkeys(written, 1)
