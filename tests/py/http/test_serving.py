"""Serving: headers, CORS, health, metrics, the API's page, starts that are refused, shutdown, workers, logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from psycopg import sql

from gateway.api.route import Limit
from gateway.api.table import ROUTES
from gateway.http.cross_origin import Origins
from gateway.http.metrics import EVENTS
from gateway.http.own_url import own_url
from gateway.settings import parsers
from harness.clients import ROUTES_OF_APPS, Reply, Service, Session, assert_problem
from harness.databases import Cluster, Database
from harness.doors import held_balance, waiting_for_a_lock
from harness.gateways import Gateway, workers_of
from harness.metrics import sample
from harness.places import free_port
from harness.servers import PgBouncer, Redis
from harness.waiting import together, until

BALANCE = "/api/v1/credits/balance"
LOGIN = "/api/v1/auth/login"


# ---------------------------------------------------------------- headers

HELMET = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}
ANSWERS = [
    ("GET", "/api/v1/credits/packages", 401),
    ("POST", LOGIN, 400),
    ("GET", "/nowhere", 404),
    ("GET", "/api/v1/nowhere", 404),
    ("DELETE", BALANCE, 405),
    ("GET", "/health", 200),
    ("GET", "/health/live", 200),
    ("GET", "/metrics", 200),
    ("GET", "/.well-known/jwks.json", 200),
    ("GET", "/openapi.json", 200),
    ("GET", "/docs", 200),
    ("GET", "/docs/swagger-ui.css", 200),
    ("HEAD", "/health", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_every_answer_has_the_security_headers(service: Service, method: str, path: str, status: int) -> None:
    reply = await service.request(method, path)
    assert reply.status == status
    assert {name: reply.headers.get(name) for name in HELMET} == HELMET
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert reply.headers["Server"] == "mana"
    assert "Set-Cookie" not in reply.headers
    assert len(reply.headers.getall("X-Request-Id")) == 1  # type: ignore[attr-defined]


async def test_answers_about_people_are_never_cached(service: Service) -> None:
    user = await service.new_session()
    for route in ROUTES:
        reply = await user.service.request(route.method, route.path, token=user.access_token, data=b"{}")
        assert reply.headers["Cache-Control"] == "no-store", route.path


async def test_a_request_id_that_was_given_comes_back(service: Service) -> None:
    for given in ("a", "Abc.123-x_y", "f" * 64):
        reply = await service.get(BALANCE, headers={"X-Request-Id": given})
        assert reply.headers["X-Request-Id"] == given
        assert reply.body["instance"] == f"urn:request:{given}"


async def test_each_request_gets_an_id_of_its_own(service: Service) -> None:
    replies = await together(*(service.get("/health/live") for _ in range(10)))
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == 10


async def test_the_request_id_is_in_the_log_and_in_the_database(
    gateway: Gateway, database: Database, service: Service
) -> None:
    user = await service.new_session()
    headers = {"X-Request-Id": "findable-1"}
    reply = await service.post(LOGIN, {"email": user.email, "password": "wrong password"}, headers=headers)
    assert reply.status == 401
    rows = database.query("select user_id::text from auth.security_events where request_id = 'findable-1'")
    assert (user.user_id,) in rows
    await until(lambda: any('"findable-1"' in line for line in gateway.output))


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/v1", "/api/v1/auth", "/api/v2/auth/login", "/api/v1/auth/login//", "/"]
)
async def test_an_unknown_path_is_a_problem(service: Service, path: str) -> None:
    reply = await service.get(path)
    assert_problem(reply, 404, "not_found")
    assert reply.body["path"] == path


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.function)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_another_method_is_a_problem_that_names_the_right_one(service: Service, method: str, route: Any) -> None:
    if method == route.method:
        return
    reply = await service.request(method, route.path)
    assert_problem(reply, 405, "method_not_allowed")
    assert route.method in reply.headers["Allow"]


# ---------------------------------------------------------------- CORS

APP = "https://app.example.com"
OTHER = "https://evil.example.com"


@pytest.fixture(scope="module")
def cors_gateway(database: Database) -> Iterator[Gateway]:
    with Gateway(database.gateway_url, {"CORS_ORIGINS": f"{APP}/, http://localhost:8081"}) as running:
        yield running


def preflight(origin: str, method: str = "POST", headers: str = "authorization,content-type") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


def allowed_origin(reply: Reply) -> str | None:
    return reply.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize("origin", [APP, "http://localhost:8081"])
async def test_an_app_of_an_allowed_origin_may_read_answers_and_their_headers(
    cors_gateway: Gateway, origin: str
) -> None:
    async with Service(cors_gateway.url) as service:
        for reply in (await service.register(), await service.get(BALANCE, headers={"Origin": origin})):
            assert reply.status in {201, 401}
        reply = await service.get(BALANCE, headers={"Origin": origin})
        assert allowed_origin(reply) == origin
        exposed = {name.strip().lower() for name in reply.headers["Access-Control-Expose-Headers"].split(",")}
        assert {"retry-after", "link", "x-request-id", "idempotency-replayed", "ratelimit-remaining"} <= exposed
        assert "Origin" in reply.headers.get("Vary", ""), "a cache would mix the answers of two origins"


async def test_a_challenge_names_an_error_to_who_presented_a_token_alone(service: Service) -> None:
    """RFC 6750, section 3."""
    asked = await service.get(BALANCE), await service.login("nobody@example.com"), await service.get(BALANCE, token="x")
    told = [reply.headers["WWW-Authenticate"] for reply in asked]
    assert told == ["Bearer", "Bearer", 'Bearer error="invalid_token"']


@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.com.evil.com", "http://app.example.com", "x"])
async def test_an_app_of_another_origin_may_not(cors_gateway: Gateway, origin: str) -> None:
    async with Service(cors_gateway.url) as service:
        reply = await service.get(BALANCE, headers={"Origin": origin})
        assert reply.status == 401
        assert allowed_origin(reply) is None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.function)
async def test_a_preflight_of_an_allowed_origin_is_granted(cors_gateway: Gateway, route: Any) -> None:
    async with Service(cors_gateway.url) as service:
        names = (
            "authorization", "content-type", "idempotency-key", "x-request-id", "x-app-id", "x-service-key",
            "x-requested-with", "traceparent", "tracestate", "baggage", "sentry-trace",
        )  # fmt: skip
        headers = preflight(APP, route.method, ",".join(names))
        reply = await service.request("OPTIONS", route.path, headers=headers)
        assert reply.status in {200, 204}, reply.text
        assert allowed_origin(reply) == APP
        assert route.method in reply.headers["Access-Control-Allow-Methods"]
        assert set(names) <= set(reply.headers["Access-Control-Allow-Headers"].lower().split(", "))
        assert reply.headers["Access-Control-Allow-Credentials"] == "true"
        assert int(reply.headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize("origin", [OTHER, "null", "", "*"])
async def test_a_preflight_of_another_origin_is_refused_as_a_problem(cors_gateway: Gateway, origin: str) -> None:
    async with Service(cors_gateway.url) as service:
        reply = await service.request("OPTIONS", LOGIN, headers=preflight(origin))
        assert_problem(reply, 403, "origin_not_allowed")
        assert allowed_origin(reply) is None


async def test_a_preflight_names_what_is_allowed_whatever_it_asks_for(cors_gateway: Gateway) -> None:
    async with Service(cors_gateway.url) as service:
        reply = await service.request("OPTIONS", LOGIN, headers=preflight(APP, "DELETE", "x-evil"))
        assert reply.status == 204
        assert "x-evil" not in reply.headers["Access-Control-Allow-Headers"].lower()


async def test_options_that_are_no_preflight_are_a_method_as_any_other(cors_gateway: Gateway) -> None:
    async with Service(cors_gateway.url) as service:
        assert_problem(await service.request("OPTIONS", LOGIN, headers={"Origin": APP}), 405, "method_not_allowed")


LIMITED = {"RATE_LIMIT_MAX": "6", "RATE_LIMIT_TTL": "3600", "CORS_ORIGINS": APP}


async def test_an_answer_can_be_read_across_origins_whatever_its_status(database: Database) -> None:
    with Gateway(database.gateway_url, LIMITED) as gateway:
        async with Service(gateway.url) as service:
            origin = {"Origin": APP}
            use = "/api/v1/credits/use"
            compressed = {**origin, "Content-Encoding": "gzip"}
            replies = [
                await service.register(),
                await service.get("/nowhere", headers=origin),
                await service.request("OPTIONS", "/nowhere", headers=preflight(APP)),
                await service.get(LOGIN, headers=origin),
                await service.post(LOGIN, {}, headers=origin),
                await service.get(BALANCE, headers=origin),
                await service.request("POST", LOGIN, data=b" " * 70_000, headers=origin),
                await service.request("POST", LOGIN, data=b"{}", headers=compressed),
                await service.post(use, headers=origin),
                await service.get(BALANCE, headers=origin),
                await service.get("/health", headers=origin),
                await service.get("/.well-known/jwks.json", headers=origin),
            ]
            assert [reply.status for reply in replies] == [
                201, 404, 204, 405, 400, 401, 413, 415, 401, 429, 200, 200,
            ]  # fmt: skip
            for reply in replies[1:]:
                assert allowed_origin(reply) == APP
                assert reply.headers["Access-Control-Allow-Credentials"] == "true"
                assert "Retry-After" in reply.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    ("setting", "origin", "allowed"),
    [
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "https://localhost:5173", False),
        ("http://localhost:*", "http://localhost:", False),
        ("http://localhost:*", "http://localhost:5173.evil.com", False),
        ("http://localhost:*", "http://localhost.evil.com:80", False),
        ("http://localhost:*", "http://localhost:*", False),
        ("http://[::1]:*", "http://[::1]:3000", True),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("ionic://localhost", "ionic://localhost", True),
        ("ionic://localhost", "capacitor://localhost", False),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop", True),
        ("https://App.Example.com:443/", "https://app.example.com", True),
        ("http://app.example.com:80", "http://app.example.com", True),
        ("https://app.example.com:80", "https://app.example.com", False),
        ("https://app.example.com", "https://app.example.com:8443", False),
    ],
)
def test_an_origin_is_allowed_as_browsers_send_it(setting: str, origin: str, allowed: bool) -> None:
    request = make_mocked_request("GET", "/", headers={"Origin": origin})
    assert bool(Origins(parsers.origins(setting)).headers(request)) == allowed


@pytest.mark.parametrize(
    "setting",
    [
        "null",
        "example.com",
        "https://",
        "https://a/b",
        "https://a@b",
        "https://a:",
        "https://a:x",
        "https://*.b",
        "//a",
    ],
)
def test_what_is_no_origin_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="invalid origin"):
        parsers.origins(setting)


async def test_with_no_origin_configured_no_browser_app_may(service: Service) -> None:
    assert allowed_origin(await service.get(BALANCE, headers={"Origin": APP})) is None
    reply = await service.request("OPTIONS", LOGIN, headers=preflight(APP))
    assert 400 <= reply.status < 500, reply.text
    assert allowed_origin(reply) is None


async def test_a_star_allows_every_origin_without_credentials(database: Database) -> None:
    with Gateway(database.gateway_url, {"CORS_ORIGINS": "*"}) as gateway:
        async with Service(gateway.url) as service:
            reply = await service.get(BALANCE, headers={"Origin": OTHER})
            assert allowed_origin(reply) in {"*", OTHER}
            assert "Access-Control-Allow-Credentials" not in reply.headers
            assert "RateLimit-Remaining" in reply.headers["Access-Control-Expose-Headers"]
            granted = await service.request("OPTIONS", LOGIN, headers=preflight(OTHER))
            assert granted.status in {200, 204}, granted.text


async def test_keys_are_where_older_backends_look_for_them(service: Service) -> None:
    keys = (await service.get("/.well-known/jwks.json")).body
    assert keys["keys"]
    for path in ("/api/v1/auth/jwks", "/api/auth/jwks"):
        reply = await service.get(path)
        assert (reply.status, reply.body) == (200, keys)


async def test_keys_and_document_are_for_everybody(cors_gateway: Gateway) -> None:
    async with Service(cors_gateway.url) as service:
        for path in ("/.well-known/jwks.json", "/api/v1/auth/jwks", "/api/auth/jwks", "/openapi.json"):
            assert allowed_origin(await service.get(path, headers={"Origin": OTHER})) == "*"


# ---------------------------------------------------------------- health


async def test_health_says_that_all_is_well(service: Service) -> None:
    for path in ("/health", "/health/ready"):
        reply = await service.get(path)
        assert (reply.status, reply.body["status"], reply.body["database"]) == (200, "ok", "ok")
    assert (await service.get("/health/live")).body == {"status": "ok"}


async def test_a_database_that_is_away_is_a_503_and_comes_back_by_itself(cluster: Cluster, database: Database) -> None:
    with PgBouncer(cluster) as pooler, Gateway(pooler.url(database)) as gateway:
        async with Service(gateway.url) as service:
            user = await service.new_session()
            pooler.stop(signal.SIGKILL)

            bodies = {**EXAMPLES, "validate": {"token": user.access_token}}
            replies = await together(
                *(
                    service.request(route.method, route.path, token=user.access_token, body=bodies.get(route.function))
                    for route in ROUTES_OF_APPS
                )
            )
            for reply in replies:
                assert_problem(reply, 503, "service_unavailable")
                assert int(reply.headers["Retry-After"]) >= 1
            for path in ("/health", "/health/ready"):
                reply = await service.get(path)
                assert (reply.status, reply.body["database"]) == (503, "unreachable")
            assert (await service.get("/health/live")).status == 200
            assert (await service.get("/metrics")).status == 200
            assert_problem(await service.get(BALANCE, token="garbage"), 401, "invalid_token")

            pooler.start()
            deadline = time.monotonic() + 20
            while (await service.get("/health/ready")).status != 200:
                assert time.monotonic() < deadline, "the gateway did not recover"
                await asyncio.sleep(0.1)
            assert (await user.balance())["freeCreditsRemaining"] == 150


EXAMPLES = {route.function: route.body.example for route in ROUTES if route.body and route.body.example}


async def test_a_gateway_starts_without_its_database_and_waits_for_it(cluster: Cluster, database: Database) -> None:
    with PgBouncer(cluster) as pooler:
        pooler.stop(signal.SIGKILL)
        with Gateway(pooler.url(database)) as gateway:
            async with Service(gateway.url) as service:
                assert (await service.get("/health/ready")).status == 503
                pooler.start()
                deadline = time.monotonic() + 20
                while (await service.register()).status != 201:
                    assert time.monotonic() < deadline, "the gateway did not connect"
                    await asyncio.sleep(0.1)


# ---------------------------------------------------------------- starts that are refused


def refused_start(url: str, environment: dict[str, str] | None = None) -> list[str]:
    """What a gateway says that does not start: exit code 1, no traceback."""
    gateway = Gateway(url, environment)
    try:
        gateway.start(expect_up=False)
        assert gateway.end() == 1, "".join(gateway.output)
    finally:
        gateway.__exit__()
    assert not any("Traceback" in line for line in gateway.output), "".join(gateway.output)
    return [line.rstrip("\n") for line in gateway.output]


def errors(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("error:")]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("log_parameter_max_length", "-1"),
        ("log_parameter_max_length_on_error", "1024"),
        ("log_error_verbosity", "default"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
    ],
)
def test_a_setting_that_would_leak_or_hang_stops_the_start(cluster: Cluster, setting: str, value: str) -> None:
    with cluster.database() as database:
        set_for_gateway(database, setting, value)
        lines = refused_start(database.gateway_url)
        assert len(errors(lines)) == 1, lines
        assert setting in errors(lines)[0].split()
        assert lines[-1].startswith("hint:")


@pytest.mark.soak
def test_a_setting_that_would_leak_stops_all_workers(cluster: Cluster) -> None:
    with cluster.database() as database:
        set_for_gateway(database, "log_parameter_max_length", "-1")
        lines = refused_start(database.gateway_url, {"WORKERS": "2"})
        assert any("log_parameter_max_length" in line.split() for line in errors(lines))
        assert lines[-1].startswith("hint:")


def set_for_gateway(database: Database, setting: str, value: str) -> None:
    statement = sql.SQL("alter role mana_gateway in database {} set {} = {}")
    with database.connect() as connection:
        connection.execute(statement.format(sql.Identifier(database.name), sql.Identifier(setting), sql.Literal(value)))


def test_a_setting_that_turns_bad_later_makes_the_gateway_unready(cluster: Cluster) -> None:
    with cluster.database() as database, Gateway(database.gateway_url) as gateway:
        set_for_gateway(database, "lock_timeout", "0")
        database.query(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'mana_gateway' and datname = current_database()"
        )

        async def ask() -> Reply:
            async with Service(gateway.url) as service:
                return await service.get("/health/ready")

        deadline = time.monotonic() + 20
        while (reply := asyncio.run(ask())).body["database"] != "misconfigured":
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.1)
        assert reply.status == 503


def test_a_superuser_is_refused(database: Database) -> None:
    assert any("must not log in as postgres" in line for line in errors(refused_start(database.admin_url)))


def test_a_database_without_our_functions_is_refused_with_the_command_that_helps(cluster: Cluster) -> None:
    with cluster.database(migrated=False) as database:
        lines = refused_start(database.gateway_url)
        assert len(errors(lines)) == 1
        assert "hint:  run: mana migrate apply" in lines


def test_a_port_in_use_is_one_clear_line(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for workers in ("1", "2"):
            lines = refused_start(database.gateway_url, {"PORT": str(port), "WORKERS": workers})
            assert lines == [
                f"error: cannot listen on 127.0.0.1 port {port}: Address already in use",
                "hint:  set PORT to a free port",
            ]


def test_a_second_gateway_on_the_port_of_one_with_workers_is_refused(database: Database) -> None:
    port = free_port()
    with Gateway(database.gateway_url, {"PORT": str(port), "WORKERS": "2"}):
        for workers in ("1", "2"):
            lines = refused_start(database.gateway_url, {"PORT": str(port), "WORKERS": workers})
            assert errors(lines) == [f"error: cannot listen on 127.0.0.1 port {port}: Address already in use"]


def test_missing_keys_are_one_clear_line(database: Database, tmp_path: Path) -> None:
    lines = refused_start(database.gateway_url, {"DATA_DIR": str(tmp_path)})
    assert lines == [f"error: there are no signing keys in {tmp_path}/keys", "hint:  run: mana keys generate"]


# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.soak), "2"])
async def test_metrics_count_the_requests_of_all_workers(database: Database, workers: str) -> None:
    with Gateway(database.gateway_url, {"WORKERS": workers}) as gateway:
        async with Service(gateway.url) as service:
            for _ in range(20):
                await service.get(BALANCE, headers={"Connection": "close"})
            reply = await service.get("/metrics", headers={"Connection": "close"})
    assert reply.headers["Content-Type"].startswith("text/plain")
    labels = {"route": BALANCE, "method": "GET", "status": "401"}
    assert sample(reply.text, "mana_http_requests_total", **labels) == 20
    assert sample(reply.text, "mana_http_request_seconds_count", route=BALANCE) == 20
    assert sample(reply.text, "mana_problems_total", code="authentication_required") == 20


async def test_metrics_of_workers_add_up_even_for_gauges(database: Database) -> None:
    with Gateway(database.gateway_url, {"WORKERS": "2", "DATABASE_CONNECTIONS": "3"}) as gateway:
        async with Service(gateway.url) as service:
            deadline = time.monotonic() + 20
            connections = 0.0
            while connections != 6 and time.monotonic() < deadline:  # a worker reports when it is asked
                text = (await service.get("/metrics", headers={"Connection": "close"})).text
                connections = sample(text, "mana_database_connections", lane="quick")
            assert connections == 6


async def test_metrics_never_hold_a_path_that_a_client_made_up(gateway: Gateway, service: Service) -> None:
    await service.get("/made-up-by-a-client")
    await service.request("DELETE", "/made-up-by-a-client")
    assert "made-up" not in (await service.get("/metrics")).text
    assert not any("made-up" in line for line in gateway.output)


async def test_metrics_of_a_worker_that_died_are_kept_and_its_gauges_are_not(database: Database) -> None:
    with Gateway(database.gateway_url, {"WORKERS": "2"}) as gateway:
        async with Service(gateway.url) as service:
            for _ in range(10):
                await service.get(BALANCE, headers={"Connection": "close"})
            victim = workers_of(gateway)[0]
            os.kill(victim, signal.SIGKILL)
            await until(lambda: victim not in workers_of(gateway) and len(workers_of(gateway)) == 2)
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    text = (await service.get("/metrics", headers={"Connection": "close"})).text
                    if sample(text, "mana_http_requests_total", route=BALANCE) == 10:
                        break
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            assert sample(text, "mana_database_connections", lane="quick") <= 16


async def test_metrics_count_what_happened_to_accounts_and_credits(database: Database) -> None:
    with Gateway(database.gateway_url, {"WORKERS": "2"}) as gateway:
        async with Service(gateway.url) as service:
            session = await service.new_session()
            await service.login(session.email, "a wrong password")
            closed = await service.new_session()
            database.query("select auth.set_disabled(%s, true)", closed.email)
            await service.login(closed.email)
            await service.refresh(closed.refresh_token)
            for _ in range(2):
                assert (await session.use(7, idempotencyKey="once")).status == 200
            assert (await session.use(1000)).status == 402
            await together(*(session.use(1) for _ in range(20)))
            for _ in range(2):
                first = await service.refresh(session.refresh_token)
            await service.refresh(first.body["refreshToken"])
            assert (await service.refresh(session.refresh_token)).status == 401
            database.move_clock(timedelta(days=1))
            await (await service.session(session.email)).balance()
            database.move_clock(timedelta(0))
            text = (await service.get("/metrics", headers={"Connection": "close"})).text
    events = {event: sample(text, "mana_security_events_total", event=event) for event in EVENTS}
    assert events == {
        "registered": 2, "logged_in": 3, "login_failed": 1, "login_refused": 1, "logged_out": 0,
        "refresh_refused": 1, "refresh_token_repeated": 1, "refresh_token_reused": 1,
    }  # fmt: skip
    assert sample(text, "mana_credits_granted_total", grant="signup_bonus") == 300
    assert sample(text, "mana_credits_granted_total", grant="daily_grant") == 5
    assert sample(text, "mana_credits_spent_total") == 27, "a replay spends nothing"
    assert sample(text, "mana_problems_total", code="insufficient_credits") == 1


async def test_what_alerts_look_for_is_there_before_it_happens(database: Database) -> None:
    """Prometheus sees no increase in a counter that appears with its first event."""
    with Gateway(database.gateway_url, {"WORKERS": "2"}) as gateway:
        async with Service(gateway.url) as service:
            text = (await service.get("/metrics")).text
    for event in EVENTS:
        assert f'mana_security_events_total{{event="{event}"}} 0.0' in text
    for limit in Limit:
        assert f'mana_rate_limited_total{{limit="{limit.value}"}} 0.0' in text


async def test_metrics_say_that_redis_is_away(database: Database) -> None:
    async def redis_up(service: Service) -> float:
        return sample((await service.get("/metrics")).text, "mana_redis_up")

    with Redis() as redis, Gateway(database.gateway_url, {**redis.environment, "RATE_LIMIT_MAX": "10000"}) as gateway:
        async with Service(gateway.url) as service:
            assert await redis_up(service) == 1
            redis.stop()
            await service.get(BALANCE)
            await until(lambda: _is(redis_up(service), 0))
            redis.start()
            await until(lambda: _is(redis_up(service), 1))  # though nothing else is asked


async def _is(value: Awaitable[float], expected: float) -> bool:
    return await value == expected


# ---------------------------------------------------------------- health


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.soak)])
async def test_a_gateway_that_stops_says_so_while_it_still_serves(database: Database, workers: str) -> None:
    with Gateway(database.gateway_url, {"DRAIN_SECONDS": "3", "WORKERS": workers}) as gateway:
        async with Service(gateway.url) as service:
            session = await service.new_session()
            assert (await service.get("/health/serving")).status == 200
            stopping = asyncio.create_task(asyncio.to_thread(gateway.stop))
            await until(lambda: _has_status(service, "/health/serving", 503))
            assert (await service.get("/health/ready")).status == 503
            assert (await session.use(1)).status == 200
            assert await stopping == 0


async def test_a_gateway_without_its_database_still_serves_as_far_as_a_proxy_is_concerned(cluster: Cluster) -> None:
    with PgBouncer(cluster) as pooler, cluster.database() as own, Gateway(pooler.url(own)) as gateway:
        async with Service(gateway.url) as service:
            pooler.stop(signal.SIGKILL)
            await until(lambda: _has_status(service, "/health/ready", 503))
            assert (await service.get("/health/serving")).status == 200


async def _has_status(service: Service, path: str, status: int) -> bool:
    return (await service.get(path)).status == status


def _health_check(*arguments: str, **environment: str) -> int:
    command = [sys.executable, "-m", "gateway.http.healthcheck", *arguments]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], **environment}, check=False).returncode


async def test_the_health_check_of_a_container(gateway: Gateway, service: Service) -> None:
    port = str(urlsplit(gateway.url).port)
    assert _health_check(PORT=port) == 0
    assert _health_check(PORT=port, HOST=" ") == 0
    assert _health_check(f"{gateway.url}/metrics") == 0
    assert _health_check(f"{gateway.url}/nothing") == 1
    assert _health_check(PORT=str(free_port())) == 1


@pytest.mark.parametrize("given", ["::1", "[::1]"])
async def test_a_gateway_on_an_ipv6_address_names_one_that_can_be_called(database: Database, given: str) -> None:
    with Gateway(database.gateway_url, {"HOST": given}) as gateway:
        assert re.fullmatch(r"http://\[::1\]:\d+", gateway.url)
        async with Service(gateway.url) as service:
            assert (await service.get("/health/live")).status == 200
        port = str(urlsplit(gateway.url).port)
        assert _health_check(HOST=given, PORT=port) == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:3001"),  # noqa: S104
        ("::", "http://[::1]:3001"),
        ("2001:db8::1", "http://[2001:db8::1]:3001"),
        ("192.0.2.1", "http://192.0.2.1:3001"),
        ("gateway.internal", "http://gateway.internal:3001"),
    ],
)
def test_a_server_is_found_at_a_url(host: str, url: str) -> None:
    assert own_url(host, 3001) == url


# ---------------------------------------------------------------- the API's page


async def test_the_page_shows_the_operations_and_asks_nobody_else(gateway: Gateway, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "chromium is not installed: apt-get install chromium"
    log = tmp_path / "net.json"
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=8000",
        f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}",
        "--dump-dom", f"{gateway.url}/docs",
    ]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr

    for route in ROUTES:
        assert re.search(rf'data-path="{re.escape(route.path)}"', done.stdout), route.path
        assert route.summary in done.stdout
    assert "Mana Core Auth" in done.stdout

    # The browser itself looks for updates; what the page asks for is kept apart under its origin.
    started = [event["params"] for event in json.loads(log.read_text())["events"] if "params" in event]
    asked = {p["url"] for p in started if str(p.get("network_isolation_key")).startswith("http://127.0.0.1")}
    assert {f"{gateway.url}/docs", f"{gateway.url}/docs/start.js", f"{gateway.url}/openapi.json"} <= asked
    assert [url for url in asked if not url.startswith(f"{gateway.url}/")] == []
    assert "Refused to" not in done.stderr, "the page's own policy is in its way"


async def test_the_page_names_no_other_host_and_allows_none(service: Service) -> None:
    reply = await service.get("/docs")
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", reply.text)
    policy = reply.headers["Content-Security-Policy"]
    assert "http" not in policy
    assert "'unsafe-eval'" not in policy
    assert "script-src 'self';" in policy
    for path in re.findall(r"(?:src|href)=\"([^\"]+)\"", reply.text):
        assert (await service.get(f"/{path}")).status == 200, path


# ---------------------------------------------------------------- shutdown and workers


def refuses_connections(url: str) -> bool:
    port = int(url.rpartition(":")[2])
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGTERM, "1"),
        (signal.SIGINT, "2"),
        pytest.param(signal.SIGTERM, "2", marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, "1", marks=pytest.mark.soak),
    ],
)
async def test_a_signal_lets_requests_in_flight_finish(cluster: Cluster, workers: str, number: signal.Signals) -> None:
    with cluster.database() as database, contextlib.ExitStack() as stack:
        set_for_gateway(database, "lock_timeout", "60s")
        set_for_gateway(database, "statement_timeout", "60s")
        gateway = stack.enter_context(Gateway(database.gateway_url, {"WORKERS": workers}))
        assert gateway.process
        async with Service(gateway.url) as service:
            user = await service.new_session()
            with held_balance(database, user.user_id) as lock:
                spend = asyncio.create_task(user.use())
                await until(lambda: waiting_for_a_lock(database))
                gateway.process.send_signal(number)
                await until(lambda: refuses_connections(gateway.url), 10)
                await asyncio.sleep(1)
                assert gateway.process.poll() is None, "it did not wait for its requests"
                lock.rollback()
            assert (await spend).status == 200
        assert await asyncio.to_thread(gateway.process.wait, 30) == 0
        assert_balance(database, user, 149)
        assert not any("Traceback" in line for line in gateway.output)


def assert_balance(database: Database, user: Session, free: int) -> None:
    rows = database.query("select free_credits_remaining from credits.balances where user_id = %s", user.user_id)
    assert rows == [(free,)]
    database.assert_ledger_is_sound()


async def test_a_gateway_without_requests_stops_although_connections_are_open(database: Database) -> None:
    with Gateway(database.gateway_url) as gateway:
        async with Service(gateway.url) as service:
            assert (await service.get("/health/live")).status == 200
            assert await asyncio.to_thread(gateway.stop) == 0


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_workers_share_the_port_and_a_killed_one_is_replaced(database: Database) -> None:
    with Gateway(database.gateway_url, {"WORKERS": "2"}) as gateway:
        before = workers_of(gateway)
        assert len(before) == 2
        victim, survivor = before
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(workers_of(gateway)) == 2 and victim not in workers_of(gateway))
        assert survivor in workers_of(gateway)
        await until(lambda: any('"worker_died"' in line for line in gateway.output))
        async with Service(gateway.url) as service:
            replies = await together(*(service.get("/health", headers={"Connection": "close"}) for _ in range(20)))
            assert {reply.status for reply in replies} == {200}

        everybody = workers_of(gateway)
        assert await asyncio.to_thread(gateway.stop) == 0
        assert not any(map(runs, everybody))
        assert refuses_connections(gateway.url)


async def test_workers_end_when_their_supervisor_is_killed(database: Database) -> None:
    with Gateway(database.gateway_url, {"WORKERS": "2"}) as gateway:
        workers = workers_of(gateway)
        gateway.stop(signal.SIGKILL)
        await until(lambda: not any(map(runs, workers)))
        assert refuses_connections(gateway.url)


async def test_a_worker_that_is_killed_loses_no_money(database: Database) -> None:
    with Gateway(database.gateway_url) as gateway:
        async with Service(gateway.url) as service:
            user = await service.new_session()
            with held_balance(database, user.user_id) as lock:
                spend = asyncio.create_task(user.use(idempotencyKey="killed"))
                await until(lambda: waiting_for_a_lock(database))
                await asyncio.to_thread(gateway.stop, signal.SIGKILL)
                with pytest.raises(aiohttp.ClientError):
                    await spend
                lock.rollback()
            await until(lambda: not waiting_for_a_lock(database))
        gateway.start()
        async with Service(gateway.url) as service:
            again = Session(service, user.user_id, user.email, user.access_token, user.refresh_token)
            assert (await again.use(idempotencyKey="killed")).status == 200
        assert_balance(database, user, 149)


# ---------------------------------------------------------------- logs


async def test_a_log_line_is_json_with_the_route_and_not_the_path(gateway: Gateway, service: Service) -> None:
    await service.get("/api/v1/credits/packages?limit=1", headers={"X-Request-Id": "one-line"})
    await until(lambda: any('"one-line"' in line for line in gateway.output))
    (line,) = [line for line in gateway.output if '"one-line"' in line]
    entry = json.loads(line)
    assert entry.pop("timestamp")
    assert entry.pop("ms") >= 0
    assert entry == {
        "method": "GET",
        "route": "/api/v1/credits/packages",
        "status": 401,
        "code": "authentication_required",
        "request_id": "one-line",
        "event": "request",
        "level": "info",
    }
