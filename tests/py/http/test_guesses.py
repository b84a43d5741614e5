"""Attempts at one account: bounded over all addresses, and no stranger locks its owner out."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis as redis_client

from gateway.api import fields
from gateway.api.route import Access, Limit
from gateway.api.table import ROUTES
from gateway.http.guesses import guard
from harness.clients import PASSWORD, Reply, Service, assert_problem
from harness.databases import Database
from harness.gateways import Gateway
from harness.servers import Redis
from harness.waiting import together

HOME, OFFICE = "198.51.100.1", "2001:db8:ffff::1"
_networks = itertools.count()


def stranger() -> str:
    """An address that shares no network with those before."""
    return f"2001:db8:{next(_networks):x}::1"


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    with Redis() as running:
        yield running


@asynccontextmanager
async def limited(database: Database, attempts: int = 3, window: str = "3600", **more: str) -> AsyncIterator[Service]:
    """A client of a new gateway with this many attempts in a window, behind a proxy."""
    settings = {
        "RATE_LIMIT_MAX": "1000", "RATE_LIMIT_AUTH_MAX": str(attempts), "RATE_LIMIT_TTL": window,
        "TRUSTED_PROXIES": "1", **more,
    }  # fmt: skip
    with Gateway(database.gateway_url, settings) as gateway:
        async with Service(gateway.url) as service:
            yield service


async def log_in(service: Service, email: str, source: str, password: str = PASSWORD, **more: str) -> Reply:
    body = {"email": email, "password": password, **more}
    return await service.post("/api/v1/auth/login", body, headers={"X-Forwarded-For": source})


async def guess(service: Service, email: str, source: str | None = None, **more: str) -> Reply:
    return await log_in(service, email, source or stranger(), "not the password", **more)


async def use_up(service: Service, email: str) -> None:
    """Let strangers guess until they may not any more."""
    while (await guess(service, email)).status != 429:
        pass


async def register(service: Service) -> str:
    reply = await service.post(
        "/api/v1/auth/register",
        {"email": f"{secrets.token_hex(8)}@example.com", "password": PASSWORD},
        headers={"X-Forwarded-For": stranger()},
    )
    assert reply.status == 201, reply.text
    email: str = reply.body["email"]
    return email


@pytest.mark.parametrize("known", [True, False], ids=["registered", "unknown"])
async def test_guesses_from_many_networks_are_bounded(database: Database, known: bool) -> None:
    async with limited(database) as service:
        email = await register(service) if known else "nobody@example.com"
        replies = [await guess(service, email) for _ in range(5)]
        assert [reply.status for reply in replies] == [401] * 3 + [429] * 2
        assert_problem(replies[-1], 429, "too_many_requests")
        assert replies[-1].headers["RateLimit-Limit"] == "3"
        assert replies[-1].headers["RateLimit-Remaining"] == "0"
        assert 1 <= int(replies[-1].headers["Retry-After"]) <= 3600
        assert (await guess(service, "another@example.com")).status == 401


async def test_a_guess_beyond_the_bound_does_not_reach_the_password(database: Database) -> None:
    async with limited(database) as service:
        email = await register(service)
        await use_up(service, email)
        assert (await log_in(service, email, stranger())).status == 429
        [(count,)] = database.query(
            "select count(*) from auth.security_events as e join auth.users as u on u.id = e.user_id"
            " where u.email = %s and e.event_type in ('login_failed', 'logged_in')", email,
        )  # fmt: skip
        assert count == 3


async def test_guesses_at_once_do_not_slip_through(database: Database) -> None:
    async with limited(database, 5) as service:
        replies = await together(*(guess(service, "at-once@example.com") for _ in range(30)))
        assert sorted(reply.status for reply in replies) == [401] * 5 + [429] * 25


@pytest.mark.parametrize("spelling", ["ADA-%s@Example.com", "ada-%s@EXAMPLE.COM", "\uff41da-%s@example.com"])
async def test_another_spelling_is_the_same_account(database: Database, spelling: str) -> None:
    async with limited(database) as service:
        name = secrets.token_hex(4)
        await use_up(service, f"ada-{name}@example.com")
        assert (await guess(service, spelling % name)).status == 429


async def test_strangers_do_not_lock_out_a_network_that_has_logged_in(database: Database) -> None:
    async with limited(database) as service:
        email = await register(service)
        assert (await log_in(service, email, HOME)).status == 200
        await use_up(service, email)
        assert (await log_in(service, email, HOME)).status == 200
        assert (await log_in(service, email, OFFICE)).status == 429


async def test_strangers_do_not_lock_out_a_device_that_has_logged_in(database: Database) -> None:
    async with limited(database) as service:
        email = await register(service)
        assert (await log_in(service, email, HOME, deviceId="phone")).status == 200
        await use_up(service, email)
        assert (await log_in(service, email, OFFICE, deviceId="phone")).status == 200
        assert (await log_in(service, email, stranger(), deviceId="another")).status == 429
        # In a network of the owner's, whoever else uses it up does not take the device's attempts.
        while (await guess(service, email, HOME)).status != 429:
            pass
        assert (await log_in(service, email, OFFICE, deviceId="phone")).status == 200


async def test_many_guesses_from_one_customers_network_are_bounded_and_the_owner_logs_in(database: Database) -> None:
    """A /56 has 256 networks of /64. The owner's first login, from a network nobody knew, was the first of ten."""
    async with limited(database, 10) as service:
        email = await register(service)
        assert (await log_in(service, email, HOME, deviceId="phone")).status == 200
        addresses = [f"2001:db8:5600:{network:x}::1" for network in range(102)]
        replies = [await guess(service, email, address) for address in addresses]
        assert [reply.status for reply in replies] == [401] * 9 + [429] * 93
        assert (await log_in(service, email, OFFICE, deviceId="phone")).status == 200


async def test_a_client_is_known_to_the_account_alone_that_it_logged_in_to(database: Database) -> None:
    async with limited(database) as service:
        mine, other = await register(service), await register(service)
        assert (await log_in(service, mine, HOME, deviceId="phone")).status == 200
        await use_up(service, other)
        assert (await guess(service, other, HOME, deviceId="phone")).status == 429


async def test_a_success_gives_strangers_no_new_attempts(database: Database) -> None:
    async with limited(database) as service:
        email = await register(service)
        assert (await log_in(service, email, HOME)).status == 200
        await use_up(service, email)
        for _ in range(2):
            assert (await log_in(service, email, HOME)).status == 200
            assert (await guess(service, email)).status == 429


async def test_a_known_client_is_bounded_as_well(database: Database) -> None:
    async with limited(database, 4) as service:
        email = await register(service)
        assert (await log_in(service, email, HOME, deviceId="phone")).status == 200
        statuses = [(await guess(service, email, stranger(), deviceId="phone")).status for _ in range(6)]
        assert statuses == [401] * 4 + [429] * 2


async def test_a_failure_makes_nobody_known(database: Database) -> None:
    async with limited(database) as service:
        email = await register(service)
        await guess(service, email, HOME, deviceId="phone")
        await use_up(service, email)
        assert (await guess(service, email, HOME, deviceId="phone")).status == 429


async def test_over_many_windows_there_are_fewer_attempts(database: Database) -> None:
    async with limited(database, 2, window="1") as service:
        allowed = 0
        while True:
            reply = await guess(service, "patience@example.com")
            allowed += reply.status == 401
            if reply.status == 429 and reply.headers["RateLimit-Policy"] == "10;w=60":
                break
            await asyncio.sleep(0.1)
        assert 10 <= allowed <= 12  # the minute may end in between


# ---------------------------------------------------------------- in Redis


async def test_two_gateways_share_attempts_and_known_clients(database: Database, own_redis: Redis) -> None:
    async with (
        limited(database, **own_redis.environment) as one,
        limited(database, **own_redis.environment) as other,
    ):
        email = await register(one)
        assert (await log_in(one, email, HOME, deviceId="phone")).status == 200
        assert [(await guess(service, email)).status for service in (other, one, other)] == [401, 401, 429]
        assert (await log_in(other, email, HOME)).status == 200
        assert (await log_in(other, email, OFFICE, deviceId="phone")).status == 200


async def test_redis_learns_no_address_of_a_person(database: Database, own_redis: Redis) -> None:
    async with limited(database, **own_redis.environment) as service:
        email = await register(service)
        await log_in(service, email, HOME, deviceId="phone-of-ada")
        with redis_client.Redis(port=own_redis.port, password=own_redis.password) as client:
            keys = b" ".join(client.keys()).decode()
        assert "account" in keys
        assert "remembered" in keys
        for secret in (email, email.partition("@")[0], "phone-of-ada"):
            assert secret not in keys


async def test_with_redis_away_attempts_are_bounded_and_clients_known(database: Database, own_redis: Redis) -> None:
    async with limited(database, **own_redis.environment) as service:
        email = await register(service)
        assert (await log_in(service, email, HOME)).status == 200
        own_redis.stop()
        await use_up(service, email)
        assert (await log_in(service, email, HOME)).status == 200


# ---------------------------------------------------------------- of each route

CHECK_SECRETS = [
    route for route in ROUTES if route.body and fields.given_password in route.body.rules.values()
]  # fmt: skip


def test_each_route_that_checks_a_password_counts_it_for_the_account() -> None:
    assert {route.function for route in CHECK_SECRETS} >= {"log_in"}
    assert {route.limit for route in CHECK_SECRETS} == {Limit.PASSWORD}


def test_a_route_that_checks_a_secret_has_to_name_an_account() -> None:
    [log_in_route] = [route for route in ROUTES if route.function == "log_in"]
    nameless = dataclasses.replace(log_in_route, body=None)
    with pytest.raises(ValueError, match="log_in checks a secret of an account"):
        guard(nameless)
    assert guard(dataclasses.replace(nameless, access=Access.BEARER))
