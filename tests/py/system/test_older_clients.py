"""What clients of the predecessor rely on: texts that they act upon, fields that they read.

They delete both tokens when a refresh fails, unless its text says that another attempt may help. They log
out or refresh at once when a text says that the token does not work.
"""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.api.fields import new_email
from gateway.api.route import Access, Limit, Route
from gateway.http.cross_origin import Origins
from gateway.operate.cli.run import FOR_DEVELOPMENT
from gateway.problems import CODES, KEEPS_TOKENS, Problem
from gateway.settings import parsers
from gateway.tokens.access_tokens import TokenIssuer
from gateway.tokens.keys import KeyDirectory
from harness.clients import PASSWORD, ROUTES_OF_APPS, Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import Gateway
from harness.waiting import together

APP = "https://app.example.com"
every_route = pytest.mark.parametrize("route", ROUTES_OF_APPS, ids=lambda route: route.function)


def access_token(gateway: Gateway) -> str:
    """A token of a user that no database knows, signed as the gateway does."""
    ring = KeyDirectory(gateway.data_dir / "keys").load()
    issuer = TokenIssuer(lambda: ring, "manacore", "manacore", 900)
    user, session = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"
    return issuer.sign({"sub": user, "sessionId": session, "role": "user"})


async def ask(service: Service, route: Route, token: str) -> Reply:
    """A valid request to the route, as far as the gateway can tell."""
    body: dict[str, Any] | None = dict(route.body.example) if route.body else None
    if route.access is Access.TOKEN_IN_BODY:
        body = {"token": token}
    bearer = token if route.access in {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN} else None
    return await service.request(route.method, route.path, body=body, token=bearer, headers={"Origin": APP})


def assert_keeps_tokens(reply: Reply, status: int) -> None:
    assert reply.status == status, reply.text
    assert KEEPS_TOKENS.search(reply.body["message"]), reply.body["message"]


# ---------------------------------------------------------------- not now


@contextmanager
def silent_server() -> Iterator[str]:
    """The URL of a database that accepts connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://mana_gateway:password@127.0.0.1:{listener.getsockname()[1]}/mana"


@pytest.fixture(scope="module")
def without_database() -> Iterator[Gateway]:
    with silent_server() as url, Gateway(url, {"CORS_ORIGINS": APP}) as running:
        yield running


async def test_while_the_database_is_away_every_route_keeps_tokens(without_database: Gateway) -> None:
    token = access_token(without_database)
    async with Service(without_database.url) as service:
        for reply in await together(*(ask(service, route, token) for route in ROUTES_OF_APPS)):
            assert_problem(reply, 503, "service_unavailable")
            assert_keeps_tokens(reply, 503)
            assert reply.headers["Access-Control-Allow-Origin"] == APP
            assert reply.body["error"] == "SERVICE_UNAVAILABLE"
            assert reply.body["retryAfterSec"] == int(reply.headers["Retry-After"])


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_while_the_database_is_away_health_says_so_in_the_same_words(
    without_database: Gateway, path: str
) -> None:
    async with Service(without_database.url) as service:
        assert_keeps_tokens(await service.get(path), 503)


async def test_while_it_stops_the_gateway_keeps_tokens(database: Database) -> None:
    with Gateway(database.gateway_url, {"DRAIN_SECONDS": "2"}) as gateway:
        async with Service(gateway.url) as service:
            assert (await service.get("/health/serving")).status == 200
            assert gateway.process
            gateway.process.send_signal(signal.SIGTERM)
            while (reply := await service.get("/health/serving")).status == 200:
                pass
            for path in ("/health", "/health/ready", "/health/serving"):
                reply = await service.get(path)
                assert_keeps_tokens(reply, 503)
                assert reply.body["status"] == "stopping"


@pytest.mark.parametrize(
    ("limit", "others"), [("RATE_LIMIT_MAX", "RATE_LIMIT_AUTH_MAX"), ("RATE_LIMIT_AUTH_MAX", "RATE_LIMIT_MAX")]
)
async def test_beyond_a_limit_every_route_keeps_tokens(database: Database, limit: str, others: str) -> None:
    settings = {limit: "1", others: "1000", "RATE_LIMIT_TTL": "3600"}
    with Gateway(database.gateway_url, settings) as gateway:
        token = access_token(gateway)
        async with Service(gateway.url) as service:
            for route in ROUTES_OF_APPS:
                if limit == "RATE_LIMIT_AUTH_MAX" and route.limit is Limit.GENERAL:
                    continue
                for _ in range(4):
                    reply = await ask(service, route, token)
                assert_problem(reply, 429, "too_many_requests")
                assert_keeps_tokens(reply, 429)
                assert reply.body["error"] == "RATE_LIMITED"
                assert reply.body["retryAfterSec"] == int(reply.headers["Retry-After"])


async def test_an_error_of_ours_keeps_tokens_on_every_route(database: Database, gateway: Gateway) -> None:
    database.query("alter schema api rename to away")
    try:
        async with Service(gateway.url) as service:
            for route in ROUTES_OF_APPS:
                reply = await ask(service, route, access_token(gateway))
                assert_problem(reply, 500, "internal_error")
                assert_keeps_tokens(reply, 500)
    finally:
        database.query("alter schema away rename to api")


@pytest.mark.parametrize("code", CODES)
def test_a_problem_that_passes_keeps_tokens_whatever_its_text(code: str) -> None:
    problem = Problem(code, "Try again.")
    passes = problem.status in {408, 429} or problem.status >= 500
    assert (problem.detail != "Try again.") == passes
    assert bool(KEEPS_TOKENS.search(problem.detail)) == passes


def test_a_text_that_keeps_tokens_stays_as_it_is() -> None:
    assert Problem("service_unavailable", "The connection was cut.").detail == "The connection was cut."


# ---------------------------------------------------------------- tokens that do not work


@pytest.fixture(scope="module")
async def module_service(gateway: Gateway) -> AsyncIterator[Service]:
    async with Service(gateway.url) as client:
        yield client


@pytest.fixture(scope="module")
async def user(module_service: Service) -> Session:
    return await module_service.new_session()


BEARER_ROUTES = [route for route in ROUTES_OF_APPS if route.access in {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN}]
ENDINGS = ["ended", "expired session", "role changed", "disabled", "garbage", "other key", "two headers"]


async def dead_token(database: Database, service: Service, ending: str) -> str:
    session = await service.new_session()
    if ending == "ended":
        await session.post("/api/v1/auth/logout")
    elif ending == "expired session":
        database.query("update auth.sessions set expires_at = now() where user_id = %s", session.user_id)
    elif ending == "role changed":
        database.query("select auth.set_role(%s, 'admin')", session.email)
    elif ending == "disabled":
        database.query("select auth.set_disabled(%s, true)", session.email)
    elif ending == "garbage":
        return "garbage"
    elif ending == "other key":
        head, payload, _ = session.access_token.split(".")
        return f"{head}.{payload}.{secrets.token_urlsafe(256)}"
    return session.access_token


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_token_that_does_not_work_is_invalid_by_its_text(
    database: Database, module_service: Service, ending: str
) -> None:
    token = await dead_token(database, module_service, ending)
    for route in BEARER_ROUTES:
        body = dict(route.body.example) if route.body else None
        if ending == "two headers":
            headers = {"Authorization": f"Bearer {token}", "authorization": "Bearer x"}
            reply = await module_service.request(route.method, route.path, body=body, headers=headers)
        else:
            reply = await module_service.request(route.method, route.path, body=body, token=token)
        assert reply.status == 401, reply.text
        assert "Invalid token" in reply.body["message"]
        assert reply.body["error"] in {"TOKEN_INVALID", "ACCOUNT_LOCKED"}
        assert not KEEPS_TOKENS.search(reply.body["message"])


async def test_an_expired_token_is_expired_by_its_text(gateway: Gateway, module_service: Service) -> None:
    ring = KeyDirectory(gateway.data_dir / "keys").load()
    session = await module_service.new_session()
    expired = TokenIssuer(lambda: ring, "manacore", "manacore", -31)
    claims = {"sub": session.user_id, "sessionId": session.user_id, "role": "user"}
    for route in BEARER_ROUTES:
        body = dict(route.body.example) if route.body else None
        reply = await module_service.request(route.method, route.path, body=body, token=expired.sign(claims))
        assert_problem(reply, 401, "token_expired")
        assert "Token expired" in reply.body["message"]
        assert reply.body["error"] == "TOKEN_EXPIRED"


@pytest.mark.parametrize("reason", ["garbage", "unknown", "logged out", "disabled", "expired", "reused"])
async def test_a_refresh_that_is_refused_has_one_text(database: Database, module_service: Service, reason: str) -> None:
    session = await module_service.new_session()
    token = session.refresh_token
    if reason == "garbage":
        token = "garbage"
    elif reason == "unknown":
        token = f"{token.partition('.')[0]}.{secrets.token_urlsafe(32)}"
    elif reason == "logged out":
        await session.post("/api/v1/auth/logout")
    elif reason == "disabled":
        database.query("select auth.set_disabled(%s, true)", session.email)
    elif reason == "expired":
        database.query("update auth.refresh_tokens set expires_at = now() where user_id = %s", session.user_id)
    else:
        following = (await module_service.refresh(token)).body["refreshToken"]
        await module_service.refresh(following)
    reply = await module_service.refresh(token)
    assert_problem(reply, 401, "invalid_refresh_token")
    assert reply.body["message"] == "Invalid refresh token"


async def test_a_login_at_a_disabled_account_says_nothing_of_a_token(
    database: Database, module_service: Service
) -> None:
    session = await module_service.new_session()
    database.query("select auth.set_disabled(%s, true)", session.email)
    reply = await module_service.login(session.email)
    assert_problem(reply, 401, "account_disabled")
    assert "token" not in reply.body["message"].lower()


# ---------------------------------------------------------------- problems


async def test_a_spend_without_credits_says_how_many_are_missing(user: Session) -> None:
    reply = await user.use(151)
    assert_problem(reply, 402, "insufficient_credits")
    assert "Insufficient credits" in reply.body["message"]
    assert reply.body["error"] == "INSUFFICIENT_CREDITS"
    assert reply.body["details"] == {"required": 151, "available": 150}


ERRORS = {
    "INVALID_CREDENTIALS", "EMAIL_NOT_VERIFIED", "EMAIL_ALREADY_REGISTERED", "WEAK_PASSWORD", "ACCOUNT_LOCKED",
    "RATE_LIMITED", "TOKEN_EXPIRED", "TOKEN_INVALID", "TWO_FACTOR_REQUIRED", "TWO_FACTOR_FAILED", "VALIDATION",
    "UNAUTHORIZED", "NOT_FOUND", "INSUFFICIENT_CREDITS", "SERVICE_UNAVAILABLE", "INTERNAL",
}  # fmt: skip


def test_each_code_has_an_error_that_older_clients_know() -> None:
    assert {error for _, _, error in CODES.values()} <= ERRORS


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"email": "nobody@example.com", "password": "wrong password"}, "INVALID_CREDENTIALS"),
        ({"email": "nobody@example.com"}, "VALIDATION"),
    ],
)
async def test_the_error_of_a_login_is_a_text(module_service: Service, body: dict[str, str], error: str) -> None:
    reply = await module_service.post("/api/v1/auth/login", body)
    assert reply.body["error"] == error


# ---------------------------------------------------------------- packages


async def test_a_package_has_the_fields_of_older_ones(database: Database, user: Session) -> None:
    database.query("select credits.seed_packages()")
    database.query(
        'insert into credits.package_metadata select id, \'{"badge": "popular"}\' from credits.packages'
        " where name = 'Pro' on conflict do nothing"
    )
    packages = (await user.get("/api/v1/credits/packages")).body
    assert all(package["active"] is True and "stripePriceId" in package for package in packages)
    found = {package["name"]: package["metadata"] for package in packages}
    assert found == {"Starter": None, "Basic": None, "Pro": {"badge": "popular"}, "Studio": None}


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "  "},
        {"name": None},
        {"sourceAppUrl": "https://app.example.com/welcome", "referralCode": "FRIEND"},
        {"sourceAppUrl": "", "referralCode": ""},
        {"sourceAppUrl": None, "referralCode": None},
    ],
)
async def test_a_registration_takes_what_older_clients_send(module_service: Service, fields: dict[str, Any]) -> None:
    reply = await module_service.register(**fields)
    assert reply.status == 201, reply.text
    assert reply.body["name"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("sourceAppUrl", 1), ("sourceAppUrl", "x" * 2049), ("referralCode", ["a"]), ("referralCode", "x" * 101)],
)
async def test_a_field_that_changes_nothing_yet_has_a_type(module_service: Service, field: str, value: object) -> None:
    reply = await module_service.register(**{field: value})
    assert_problem(reply, 400, "invalid_request")
    assert [error["field"] for error in reply.body["errors"]] == [field]


@pytest.mark.parametrize(
    "fields",
    [
        {"deviceId": "", "deviceName": ""},
        {"deviceId": " ", "deviceName": "\t"},
        {"rememberMe": True},
        {"rememberMe": False},
        {"rememberMe": None},
    ],
)
async def test_a_login_takes_what_older_clients_send(
    module_service: Service, user: Session, fields: dict[str, Any]
) -> None:
    reply = await module_service.login(user.email, **fields)
    assert reply.status == 200, reply.text
    claims = jwt.decode(reply.body["accessToken"], options={"verify_signature": False})
    assert "deviceId" not in claims


async def test_a_login_takes_no_text_for_yes(module_service: Service, user: Session) -> None:
    assert_problem(await module_service.login(user.email, rememberMe="yes"), 400, "invalid_request")


@pytest.mark.parametrize("bearer", [None, "garbage"])
async def test_a_logout_needs_nothing_but_the_refresh_token(module_service: Service, bearer: str | None) -> None:
    session = await module_service.new_session()
    body = {"refreshToken": session.refresh_token}
    assert (await module_service.post("/api/v1/auth/logout", body, token=bearer)).status == 200
    assert (await session.get("/api/v1/credits/balance")).status == 401


async def test_a_logout_with_an_empty_refresh_token_is_one_by_bearer(module_service: Service) -> None:
    session = await module_service.new_session()
    assert (await session.post("/api/v1/auth/logout", {"refreshToken": ""})).status == 200
    assert (await session.get("/api/v1/credits/balance")).status == 401


@pytest.mark.parametrize("limit", ["100", "101", str(2**63), "9" * 30, "9" * 7000])
async def test_a_page_has_a_hundred_items_at_most_whatever_was_asked_for(
    database: Database, user: Session, limit: str
) -> None:
    [(count,)] = database.query("select count(*) from credits.transactions where user_id = %s", user.user_id)
    if count < 101:
        await together(*(user.use() for _ in range(102)))
    reply = await user.get(f"/api/v1/credits/transactions?limit={limit}")
    assert (reply.status, len(reply.body)) == (200, 100)
    assert 'rel="next"' in reply.headers["Link"]


@pytest.mark.parametrize("query", ["?utm_source=x", "?_=1&_=2", "?limit=&type=&appId=&before=", "?%00=%00"])
async def test_parameters_that_are_not_known_or_empty_are_ignored(user: Session, query: str) -> None:
    for path in ("transactions", "balance", "packages", "purchases"):
        reply = await user.get(f"/api/v1/credits/{path}{query}")
        assert reply.status == 200, reply.text


@every_route
async def test_a_trailing_slash_is_the_same_route(gateway: Gateway, module_service: Service, route: Route) -> None:
    replies = []
    for slash in ("", "/"):
        body = {**route.body.example} if route.body else None
        if route.function == "register_user":
            body = {"email": f"{secrets.token_hex(8)}@example.com", "password": PASSWORD}
        token = access_token(gateway)
        replies.append(await module_service.request(route.method, route.path + slash, body=body, token=token))
    assert replies[0].status == replies[1].status
    assert set(replies[0].body) == set(replies[1].body)
    metrics = (await module_service.get("/metrics/")).text
    assert f'route="{route.path}"' in metrics
    assert f'route="{route.path}/"' not in metrics


# ---------------------------------------------------------------- development


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:8081", "http://localhost"])
def test_on_the_own_machine_every_port_of_it_may_call(origin: str) -> None:
    allowed = Origins(parsers.origins(FOR_DEVELOPMENT["CORS_ORIGINS"]))
    request = make_mocked_request("GET", "/", headers={"Origin": origin})
    assert allowed.headers(request)["Access-Control-Allow-Credentials"] == "true"
    assert not allowed.headers(make_mocked_request("GET", "/", headers={"Origin": "http://app.example.com:5173"}))


@pytest.mark.parametrize("address", ["ada@b.test", "ada@localhost", "ada@printer.local", "ada@app.localhost"])
async def test_addresses_of_development_are_a_setting(
    database: Database, module_service: Service, address: str
) -> None:
    assert_problem(await module_service.register(address), 400, "invalid_request")
    with Gateway(database.gateway_url, {"DEVELOPMENT_ADDRESSES": "yes"}) as gateway:
        async with Service(gateway.url) as service:
            reply = await service.register(address)
            assert (reply.status, reply.body.get("email")) == (201, address)
            assert (await service.login(address)).status == 200
    assert (await module_service.login(address)).status == 200


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        ("ada@B.TEST", "ada@b.test"),
        ("ada@LOCALHOST", "ada@localhost"),
        ("ada@xn--mller-kva.test", "ada@müller.test"),
        ("ada@xn--mller-kva.de", "ada@müller.de"),
        ("ada@example.com", "ada@example.com"),
    ],
)
def test_an_address_has_one_normal_form(value: str, normal: str) -> None:
    assert new_email(value) == normal == new_email(normal)


@pytest.mark.parametrize("value", ["ada@test", "ada@local", "ada@.test", "@b.test", "a b@b.test", "x@b.invalid"])
def test_what_is_no_address_is_refused_in_development_as_well(value: str) -> None:
    with pytest.raises(ValueError, match="must be an e-mail address"):
        new_email(value)


# ---------------------------------------------------------------- tokens


async def test_a_token_has_the_claims_of_older_ones_and_of_rfc_9068(module_service: Service) -> None:
    registered = await module_service.register(name="Ada Lövelace")
    session = await module_service.session(registered.body["email"])
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    assert claims["name"] == "Ada Lövelace"
    assert claims["sid"] == claims["sessionId"]
    assert claims["client_id"] == claims["aud"] == "manacore"
    assert {"sub", "email", "role", "iss", "exp", "iat", "jti"} <= set(claims)
    assert "tier" not in claims, "nothing sets it yet"


@pytest.mark.parametrize("character", ["a", "€", "\U0001f600", "\x01", '"'])
async def test_a_token_of_the_longest_texts_works(module_service: Service, character: str) -> None:
    longest = f"{character * 254}a"
    email = f"{secrets.token_hex(32)}@{'b' * 63}.{'c' * 63}.{'d' * 57}.com"
    assert (await module_service.register(email, name=longest)).status == 201
    session = await module_service.session(email, deviceId=longest, deviceName=longest)
    assert (await session.get("/api/v1/credits/balance")).status == 200
