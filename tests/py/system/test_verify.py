"""The books after everything at once: many tasks, few users, repeated keys, two ways in, a clock that moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from harness.clients import Reply, Service, Session
from harness.databases import Database
from harness.doors import backend_login
from harness.waiting import together

TASKS = 32
CALLS_PER_TASK = 40
USERS = 5
KEYS = 12

USE = """
select id, amount, replayed
  from credits.use_credits(p_amount => %s, p_app_id => 'tests', p_description => 'a test', p_idempotency_key => %s)
"""
EXPECTED = {(200, None), (402, "insufficient_credits"), (409, "version_conflict"), (422, "idempotency_key_reused")}


@pytest.fixture(scope="module")
def backend_url(database: Database) -> Iterator[str]:
    with backend_login(database) as url:
        yield url


class Load:
    """What was done, as the callers were told: spends that were charged, by transaction."""

    def __init__(self, database: Database, backend_url: str, users: list[Session]) -> None:
        self.database = database
        self.backend_url = backend_url
        self.users = users
        self.charged: dict[UUID, int] = {}
        self.replayed = 0
        self.refusals: set[str | None] = set()

    def note(self, transaction_id: UUID, amount: int, replayed: bool) -> None:
        if replayed:
            self.replayed += 1
        else:
            assert transaction_id not in self.charged
            self.charged[transaction_id] = amount

    async def run(self, seed: int) -> None:
        chance = random.Random(seed)
        calls = [self.spend, self.spend_with_key, self.spend_at_version, self.read, self.spend_in_sql, self.give]
        for _ in range(CALLS_PER_TASK):
            call = chance.choices(calls, weights=[6, 6, 3, 4, 4, 1])[0]
            await call(chance.choice(self.users), chance)

    async def spend(self, user: Session, chance: random.Random) -> None:
        self.note_reply(await user.use(chance.choice([1, 3, 500])))

    async def spend_with_key(self, user: Session, chance: random.Random) -> None:
        key = f"key-{chance.randrange(KEYS)}"
        self.note_reply(await user.use(chance.choice([1, 1, 1, 2]), idempotencyKey=key))

    async def spend_at_version(self, user: Session, _: random.Random) -> None:
        balance = await user.balance()
        self.note_reply(await user.use(1, expectedVersion=balance["version"]))

    async def read(self, user: Session, _: random.Random) -> None:
        replies = await together(user.get("/api/v1/credits/balance"), user.get("/api/v1/credits/transactions"))
        assert {reply.status for reply in replies} == {200}

    async def give(self, user: Session, chance: random.Random) -> None:
        await asyncio.to_thread(self.database.give_credits, user.user_id, free=chance.randrange(9), paid=1)

    async def spend_in_sql(self, user: Session, chance: random.Random) -> None:
        await asyncio.to_thread(self._spend_in_sql, user.user_id, chance)

    def note_reply(self, reply: Reply) -> None:
        code = reply.body.get("code")
        assert (reply.status, code) in EXPECTED, reply.text
        if reply.status == 200:
            transaction = reply.body["transaction"]
            self.note(UUID(transaction["id"]), transaction["amount"], "Idempotency-Replayed" in reply.headers)
        else:
            self.refusals.add(f"PT{reply.status}")

    def _spend_in_sql(self, user_id: str, chance: random.Random) -> None:
        done = []
        commits = chance.random() < 0.7
        with psycopg.connect(self.backend_url, autocommit=True) as connection:
            try:
                with connection.transaction(force_rollback=not commits):
                    connection.execute("select auth.act_as(%s)", (user_id,))
                    for _ in range(2):
                        key = f"key-{chance.randrange(KEYS)}" if chance.random() < 0.5 else None
                        done += connection.execute(USE, (chance.choice([1, 2, 300]), key)).fetchall()
            except psycopg.Error as error:
                assert error.sqlstate in {"PT402", "PT422"}, error
                self.refusals.add(error.sqlstate)
                return
        if commits:
            for transaction_id, amount, replayed in done:
                self.note(transaction_id, amount, replayed)


async def test_the_books_are_right_after_everything_at_once(
    database: Database, backend_url: str, either_service: Service
) -> None:
    users = [await either_service.new_session() for _ in range(USERS)]
    load = Load(database, backend_url, users)

    async def days_pass() -> None:
        for day in range(1, 6):
            await asyncio.sleep(0.3)
            database.move_clock(timedelta(days=day))

    await together(days_pass(), *(load.run(seed) for seed in range(TASKS)))
    database.move_clock(timedelta())

    database.assert_ledger_is_sound()
    assert database.query("select sum(total)::int from credits.account_totals") == [(0,)]
    booked = database.query(
        "select id, amount from credits.transactions where type = 'usage' and user_id = any(%s::uuid[])",
        [user.user_id for user in users],
    )
    assert dict(booked) == load.charged
    assert load.replayed > 0
    assert load.refusals == {"PT402", "PT409", "PT422"}
    grants = database.query(
        "select count(*) from credits.transactions where grant_window between 1 and 5 group by user_id"
    )
    assert len(grants) >= USERS
