"""Enumeration: neither what is answered nor when tells who has an account, on a disk that is slow to commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from harness.clients import Service, assert_problem
from harness.databases import Database, start_server
from harness.gateways import Gateway
from proof import enumeration

SEED = 1
SAMPLES = 30


@pytest.fixture(scope="module")
def slow_database() -> Iterator[Database]:
    """Where bcrypt (some 20 ms) and a commit take what can be measured on a busy machine, too."""
    with start_server(enumeration.SLOW_DISK) as cluster:
        cluster.prepare()
        with cluster.database() as database:
            database.query(
                "create or replace function _auth.password_cost() returns int language sql immutable as 'select 8'"
            )
            yield database


@pytest.fixture(scope="module")
async def slow_service(slow_database: Database) -> AsyncIterator[Service]:
    with Gateway(slow_database.gateway_url) as gateway:
        async with Service(gateway.url) as client:
            yield client


@pytest.mark.parametrize("route", ["login", "refresh"])
async def test_refusals_are_told_apart_neither_by_a_byte_nor_by_their_time(
    slow_database: Database, slow_service: Service, route: str
) -> None:
    kinds = (await enumeration.attempts(slow_database, slow_service))[route]
    medians, looks = await enumeration.measure(kinds, SAMPLES, SEED)
    assert len(looks) == 1, looks
    # Without its bcrypt, or without its commit, a login takes half the time of the others. The bound is a
    # part of the time that it takes, for a machine under load; make soak ARGS=enumeration measures in ms.
    assert enumeration.gap(medians) < max(max(medians.values()) / 4, enumeration.MOST), (SEED, medians)


async def test_who_knows_the_password_of_a_disabled_account_is_told_so(
    slow_database: Database, slow_service: Service
) -> None:
    """The one who could know it anyhow: nobody else learns that it is disabled."""
    user = await slow_service.new_session()
    slow_database.query("select auth.set_disabled(%s, true)", user.email)
    assert_problem(await slow_service.login(user.email), 401, "account_disabled")
    assert_problem(await slow_service.login(user.email, enumeration.WRONG), 401, "invalid_credentials")
    assert_problem(await slow_service.refresh(user.refresh_token), 401, "invalid_refresh_token")
