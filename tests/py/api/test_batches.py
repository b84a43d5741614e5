"""Many calls in one transaction end as the same calls do alone, in some order of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from gateway.api.table import ROUTES
from harness.databases import Database
from harness.doors import as_array

[USE] = [route for route in ROUTES if route.function == "use_credits"]
PEOPLE = ("ada", "bob", "cleo")  # bob has logged out, and a grant is due to cleo
IDS = re.compile(r'"(id|userId|createdAt|completedAt|nextDailyCreditsAt)" : "[^"]*"')


@dataclass(frozen=True)
class Spend:
    person: str
    amount: int
    key: str | None
    version: int | None

    def arguments(self, people: dict[str, tuple[str, str]]) -> list[str | None]:
        """As the gateway passes them: user, claims, context, and the fields of the body."""
        user_id, claims = people[self.person]
        version = None if self.version is None else str(self.version)
        return [user_id, claims, "{}", str(self.amount), "chat", "A question", self.key, None, version]


SPENDS = st.lists(
    st.builds(
        Spend,
        st.sampled_from(PEOPLE),
        st.sampled_from((0, 1, 60, 100)),
        st.sampled_from((None, "k-1", "k-2")),
        st.sampled_from((None, None, 1, 2)),
    ),
    min_size=2,
    max_size=12,
)


@pytest.fixture
def connection(database: Database) -> Iterator[Connection[Any]]:
    with psycopg.connect(database.admin_url) as connection:
        yield connection


@given(spends=SPENDS)
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_of_spends_ends_as_its_calls_do_alone(connection: Connection[Any], spends: list[Spend]) -> None:
    with connection.transaction(force_rollback=True):
        twins = [_people(connection, "first"), _people(connection, "second")]
        connection.execute("set local role mana_gateway")

        together = _batch(connection, [spend.arguments(twins[0]) for spend in spends])
        served = [place for place, answer in enumerate(together) if answer is not None]
        left = [place for place, answer in enumerate(together) if answer is None]
        for place in left:
            together[place] = _alone(connection, spends[place].arguments(twins[0]))

        alone: list[str | None] = [None] * len(spends)
        for place in [*served, *left]:
            alone[place] = _alone(connection, spends[place].arguments(twins[1]))

        assert together == alone
        connection.execute("reset role")
        first, second = (_state(connection, twin) for twin in twins)
        assert first == second
        assert connection.execute("select * from credits.verify_ledger()").fetchall() == []


def _people(connection: Connection[Any], twin: str) -> dict[str, tuple[str, str]]:
    """The id and claims of everybody, each with 150 credits."""
    people = {}
    for name in reversed(PEOPLE):
        connection.execute("update test.clock set shift = %s", (timedelta(days=name != "cleo"),))
        email = f"{name}@{twin}.example.com"
        connection.execute("select auth.register_user(%s, 'digest')", (email,))
        (answer,) = connection.execute(
            "select body from api.log_in('{}', %s, 'digest', null, null, '7 days')", (email,)
        )
        people[name] = answer[0]["user"]["id"], json.dumps(answer[0]["claims"])
    connection.execute("select api.log_out(%s, %s, '{}', null)", people["bob"])
    return people


def _batch(connection: Connection[Any], calls: list[list[str | None]]) -> list[str | None]:
    arrays = [*(as_array(values) for values in zip(*calls, strict=True)), "t" if len(calls) == 1 else "f"]
    statement = re.sub(r"\$\d+", "%s", USE.statement.sql)
    rows = connection.execute(f"select status, body::text, headers::text from ({statement}) as a".encode(), arrays)
    return [None if row[0] is None else IDS.sub("", str(row)) for row in rows]


def _alone(connection: Connection[Any], call: list[str | None]) -> str:
    [answer] = _batch(connection, [call])
    assert answer
    return answer


def _state(connection: Connection[Any], people: dict[str, tuple[str, str]]) -> list[tuple[Any, ...]]:
    return [
        row
        for user_id, _ in people.values()
        for row in connection.execute(
            "select b.balance, b.free_credits_remaining, b.total_earned, b.total_spent, b.version,"
            " (select array_agg((t.type, t.amount, t.balance_after, t.version, t.idempotency_key)::text order by t.id)"
            "    from credits.transactions as t where t.user_id = b.user_id)"
            " from credits.balances as b where b.user_id = %s",
            (user_id,),
        )
    ]
