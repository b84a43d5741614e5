"""Rate limits: what is counted, for whom, where, and what happens when the counter is away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from harness.clients import ROUTES_OF_APPS, Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import Gateway
from harness.servers import Redis
from harness.waiting import together

LONG = "3600"  # a window that no test sees the end of
LOGIN = {"email": "nobody@example.com", "password": "wrong password"}
PACKAGES = "/api/v1/credits/packages"


@asynccontextmanager
async def limited(
    database: Database, *, general: int = 1000, password: int = 1000, window: str = LONG, **environment: str
) -> AsyncIterator[Service]:
    """A client of a new gateway with these limits."""
    settings = {"RATE_LIMIT_MAX": str(general), "RATE_LIMIT_AUTH_MAX": str(password), "RATE_LIMIT_TTL": window}
    with Gateway(database.gateway_url, {**settings, **environment}) as gateway:
        async with Service(gateway.url) as service:
            yield service


async def refused(service: Service, **options: object) -> bool:
    """Whether the next request, an unauthenticated one, meets a limit."""
    reply = await service.get(PACKAGES, **options)
    assert reply.status in {401, 429}, reply.text
    return reply.status == 429


async def statuses(service: Service, count: int, **options: object) -> list[int]:
    return [(await service.get(PACKAGES, **options)).status for _ in range(count)]


# ---------------------------------------------------------------- what is counted


async def test_the_general_limit_counts_all_routes_together(database: Database) -> None:
    async with limited(database, general=len(ROUTES_OF_APPS)) as service:
        for route in ROUTES_OF_APPS:
            reply = await service.request(route.method, route.path, data=b"{}")
            assert reply.status in {400, 401, 404}, reply.text
        for route in ROUTES_OF_APPS:
            reply = await service.request(route.method, route.path, data=b"{}")
            assert_problem(reply, 429, "too_many_requests")


async def test_health_metrics_keys_and_documents_are_not_limited(database: Database) -> None:
    async with limited(database, general=1) as service:
        await service.get(PACKAGES)
        assert await refused(service)
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/.well-known/jwks.json", "/openapi.json"):
            reply = await service.get(path)
            assert reply.status == 200, path
            assert "RateLimit-Limit" not in reply.headers


async def test_an_answer_says_what_is_left(database: Database) -> None:
    async with limited(database, general=3, window="60") as service:
        for left in ("2", "1", "0"):
            reply = await service.get(PACKAGES)
            assert reply.status == 401
            assert reply.headers["RateLimit-Limit"] == "3"
            assert reply.headers["RateLimit-Remaining"] == left
            assert reply.headers["RateLimit-Policy"] == "3;w=60"
            assert 1 <= int(reply.headers["RateLimit-Reset"]) <= 60
            assert "Retry-After" not in reply.headers


async def test_a_refusal_says_when_to_try_again(database: Database) -> None:
    async with limited(database, general=1, window="60") as service:
        await service.get(PACKAGES)
        reply = await service.get(PACKAGES)
        assert_problem(reply, 429, "too_many_requests")
        assert reply.headers["RateLimit-Remaining"] == "0"
        assert reply.headers["RateLimit-Limit"] == "1"
        assert 1 <= int(reply.headers["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("path", "body", "allowed", "status"),
    [
        ("/api/v1/auth/login", LOGIN, 2, 401),
        ("/api/v1/auth/register", {"email": "no address", "password": "x"}, 2, 400),
        ("/api/v1/auth/refresh", {"refreshToken": "garbage"}, 6, 401),
    ],
)
async def test_a_route_has_a_tighter_limit_of_its_own(
    database: Database, path: str, body: dict[str, str], allowed: int, status: int
) -> None:
    async with limited(database, password=2) as service:
        replies = [await service.post(path, body) for _ in range(allowed + 1)]
        assert [reply.status for reply in replies] == [status] * allowed + [429]
        assert replies[0].headers["RateLimit-Limit"] == str(allowed)
        assert not await refused(service), "the other routes are still open"


async def test_login_and_register_do_not_share_their_limit(database: Database) -> None:
    async with limited(database, password=2) as service:
        assert [(await service.post("/api/v1/auth/login", LOGIN)).status for _ in range(3)] == [401, 401, 429]
        assert (await service.register()).status == 201


async def test_guesses_at_once_do_not_slip_through(database: Database) -> None:
    async with limited(database, password=5) as service:
        replies = await together(*(service.post("/api/v1/auth/login", LOGIN) for _ in range(30)))
        assert sorted(reply.status for reply in replies) == [401] * 5 + [429] * 25


async def test_a_guess_beyond_the_limit_does_not_reach_the_password(database: Database) -> None:
    async with limited(database, password=3) as service:
        user = (await service.register()).body
        for _ in range(3):
            await service.login(user["email"], "wrong password")
        assert (await service.login(user["email"])).status == 429
        (count,) = database.query(
            "select count(*) from auth.security_events where user_id = %s and event_type like '%%login%%'", user["id"]
        )
        assert count == (3,)


async def test_the_window_passes(database: Database) -> None:
    async with limited(database, general=1, window="1") as service:
        await service.get(PACKAGES)
        deadline = time.monotonic() + 20
        while await refused(service):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


async def test_zero_means_no_limit(database: Database) -> None:
    async with limited(database, general=0, password=1) as service:
        assert set(await statuses(service, 50)) == {401}
        assert "RateLimit-Limit" not in (await service.get(PACKAGES)).headers
        assert [(await service.post("/api/v1/auth/login", LOGIN)).status for _ in range(3)] == [401] * 3


# ---------------------------------------------------------------- for whom


def forwarded(*hops: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(hops)}


async def test_behind_a_proxy_each_client_has_a_limit_of_its_own(database: Database) -> None:
    async with limited(database, general=1, TRUSTED_PROXIES="1") as service:
        for client in ("192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1"):
            assert await statuses(service, 2, headers=forwarded(client)) == [401, 429], client


async def test_what_a_client_writes_left_of_the_proxys_entry_is_not_believed(database: Database) -> None:
    async with limited(database, general=1, TRUSTED_PROXIES="1") as service:
        assert await statuses(service, 1, headers=forwarded("192.0.2.1")) == [401]
        for forged in (["198.51.100.1"], ["garbage"], ["198.51.100.1", "198.51.100.2"], [""]):
            assert await refused(service, headers=forwarded(*forged, "192.0.2.1"))


async def test_without_a_trusted_proxy_the_header_is_not_believed(database: Database) -> None:
    async with limited(database, general=1) as service:
        assert await statuses(service, 2, headers=forwarded("192.0.2.1")) == [401, 429]
        assert await refused(service, headers=forwarded("192.0.2.2"))


async def test_addresses_of_one_ipv6_network_share_a_limit(database: Database) -> None:
    async with limited(database, general=1, TRUSTED_PROXIES="1") as service:
        assert await statuses(service, 1, headers=forwarded("2001:db8::1")) == [401]
        assert await refused(service, headers=forwarded("2001:db8::ffff:ffff:ffff:ffff"))


async def statuses_from(service: Service, addresses: Iterable[str]) -> list[int]:
    return [(await service.get(PACKAGES, headers=forwarded(address))).status for address in addresses]


@pytest.mark.parametrize(
    ("addresses", "allowed"),
    [
        ([f"192.0.2.{host}" for host in range(18)], 16),
        ([f"2001:db8:0:{subnet:x}::1" for subnet in range(6)], 4),
        ([f"2001:db8:0:{subnet:x}00::1" for subnet in range(18)], 16),
    ],
    ids=["/24", "/56", "/48"],
)
async def test_a_wider_network_has_a_larger_allowance(database: Database, addresses: list[str], allowed: int) -> None:
    async with limited(database, general=1, TRUSTED_PROXIES="1") as service:
        assert await statuses_from(service, addresses) == [401] * allowed + [429] * (len(addresses) - allowed)
        assert await statuses_from(service, ["198.51.100.1", "2001:db9::1"]) == [401] * 2


async def test_guesses_from_a_wide_network_are_bounded(database: Database) -> None:
    async with limited(database, password=1, TRUSTED_PROXIES="1") as service:
        replies = [
            await service.post(
                "/api/v1/auth/login",
                {**LOGIN, "email": f"nobody{subnet}@example.com"},
                headers=forwarded(f"2001:db8:0:{subnet:x}::1"),
            )
            for subnet in range(6)
        ]
        assert [reply.status for reply in replies] == [401] * 4 + [429] * 2
        assert replies[-1].headers["RateLimit-Limit"] == "4"
        assert int(replies[-1].headers["Retry-After"]) >= 1


async def test_a_client_that_is_refused_costs_its_neighbours_nothing(database: Database) -> None:
    async with limited(database, general=1, TRUSTED_PROXIES="1") as service:
        assert await statuses_from(service, ["192.0.2.1"] * 40) == [401] + [429] * 39
        assert await statuses_from(service, ["192.0.2.2"]) == [401]


@pytest.mark.parametrize(
    "entries",
    [
        ["203.0.113.7:50001", "203.0.113.7:50002", "203.0.113.7", "::ffff:203.0.113.7", "[::ffff:203.0.113.7]:443"],
        ["[2001:db8::1]:443", "[2001:db8::1]:444", "[2001:db8::1]", "2001:DB8::1"],
    ],
)
async def test_a_port_makes_no_other_client(database: Database, entries: list[str]) -> None:
    async with limited(database, general=1, TRUSTED_PROXIES="1") as service:
        assert await statuses_from(service, entries) == [401] + [429] * (len(entries) - 1)
        assert await statuses_from(service, ["garbage"]) == [401], "the proxy itself"


# ---------------------------------------------------------------- in Redis


@contextmanager
def paused(redis: Redis) -> Iterator[None]:
    """Redis answers nothing, as behind a broken network."""
    assert redis.process
    redis.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        redis.process.send_signal(signal.SIGCONT)


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """One that a test may kill."""
    with Redis() as running:
        yield running


async def test_two_gateways_share_their_limits_in_redis(database: Database, own_redis: Redis) -> None:
    async with (
        limited(database, general=6, password=3, **own_redis.environment) as one,
        limited(database, general=6, password=3, **own_redis.environment) as other,
    ):
        replies: list[Reply] = [await service.post("/api/v1/auth/login", LOGIN) for service in (one, other, one, other)]
        assert [reply.status for reply in replies] == [401, 401, 401, 429]
        assert [(await service.get(PACKAGES)).status for service in (one, other, one)] == [401, 401, 429]


async def test_two_gateways_without_redis_count_for_themselves(database: Database) -> None:
    async with limited(database, general=1) as one, limited(database, general=1) as other:
        assert [(await service.get(PACKAGES)).status for service in (one, other)] == [401, 401]


async def test_two_workers_share_their_limits_in_redis(database: Database, own_redis: Redis) -> None:
    async with limited(database, general=10, WORKERS="2", **own_redis.environment) as service:
        replies = [await service.get(PACKAGES, headers={"Connection": "close"}) for _ in range(20)]
        assert sorted(reply.status for reply in replies) == [401] * 10 + [429] * 10


async def log_in_until_refused(service: Service) -> list[int]:
    replies = [await service.post("/api/v1/auth/login", LOGIN) for _ in range(5)]
    return [reply.status for reply in replies]


async def test_with_redis_killed_general_routes_are_open_and_logins_still_limited(
    database: Database, own_redis: Redis
) -> None:
    async with limited(database, general=6, password=3, **own_redis.environment) as service:
        assert set(await statuses(service, 6)) == {401}
        assert await refused(service)
        own_redis.stop(signal.SIGKILL)
        assert set(await statuses(service, 20)) == {401}
        assert await log_in_until_refused(service) == [401, 401, 401, 429, 429]
        assert "RateLimit-Limit" not in (await service.get(PACKAGES)).headers

        own_redis.start()
        deadline = time.monotonic() + 30
        while not await refused(service):
            assert time.monotonic() < deadline, "Redis is not used again"
            await asyncio.sleep(0.1)


async def test_with_redis_silent_requests_are_answered_without_it(database: Database, own_redis: Redis) -> None:
    async with limited(database, general=6, password=3, **own_redis.environment) as service:
        user: Session = await service.new_session()
        with paused(own_redis):
            for _ in range(20):
                assert (await asyncio.wait_for(user.get(PACKAGES), 10)).status == 200
            assert (await asyncio.wait_for(log_in_until_refused(service), 20))[-1] == 429


@pytest.mark.parametrize("environment", [{"REDIS_PASSWORD": "wrong"}, {"REDIS_PASSWORD": ""}, {"REDIS_PORT": "1"}])
async def test_with_a_redis_that_refuses_general_routes_are_open_and_logins_still_limited(
    database: Database, redis: Redis, environment: dict[str, str]
) -> None:
    async with limited(database, general=3, password=3, **{**redis.environment, **environment}) as service:
        assert set(await statuses(service, 20)) == {401}
        assert await log_in_until_refused(service) == [401, 401, 401, 429, 429]


async def test_a_login_that_moves_to_memory_and_back_is_never_a_5xx(database: Database, own_redis: Redis) -> None:
    async with limited(database, **own_redis.environment) as service:
        seen: list[int] = []
        for number in range(60):
            if number == 20:
                own_redis.stop(signal.SIGKILL)
            if number == 40:
                own_redis.start()
            seen += [
                reply.status for reply in await together(*(service.post("/api/v1/auth/login", LOGIN) for _ in range(3)))
            ]
        assert set(seen) == {401}
