"""The table of routes, the functions in the database, the OpenAPI document and the answers agree."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import psycopg
import pytest
import stripe
from psycopg import pq

from gateway.api import public_keys
from gateway.api.problem_document import ProblemDocument
from gateway.api.route import Access, Route
from gateway.api.sessions import Validation
from gateway.api.statements import HEALTH
from gateway.api.table import ROUTES
from gateway.database.calls import Statement
from gateway.http.app import create_app
from gateway.http.bodies import MAX_SIGNED
from gateway.http.docs.document import document
from gateway.http.docs.examples import TEXTS
from gateway.http.paths import forms
from gateway.problems import CODES
from gateway.settings.serving import load
from gateway.tokens.access_tokens import TokenIssuer
from gateway.tokens.keys import KeyDirectory
from harness.clients import PASSWORD, Reply, Service, Session
from harness.databases import Database
from harness.gateways import PAYMENTS, PEPPER, Gateway
from harness.places import ROOT

FUNCTIONS = "\n".join(path.read_text() for path in (ROOT / "sql" / "functions").rglob("*.sql"))
SETTINGS = {"DATABASE_URL": "postgresql://127.0.0.1/mana", "PASSWORD_PEPPER": PEPPER}
BY_FUNCTION = {route.function: route for route in ROUTES}
DOCUMENT: dict[str, Any] = json.loads(document())
OPERATIONS = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}

every_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.function)


def operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = OPERATIONS[route.method, route.path]
    return found


def documented(route: Route) -> set[str]:
    """The codes that the document lists for a route."""
    responses = operation(route)["responses"].values()
    return {code for response in responses for code in re.findall(r"\w+", response["description"]) if code in CODES}


# ---------------------------------------------------------------- the table


@every_route
def test_no_secret_is_in_a_url(route: Route) -> None:
    """A URL is logged by others: by browsers, proxies and whoever follows a link."""
    fields = {field.encode_name for field in msgspec.structs.fields(route.query)} if route.query else set()
    fields |= set(route.in_path)
    fields -= {"idempotencyKey"}  # it opens nothing
    assert not [name for name in fields if re.search("password|token|secret|email|key", name, re.IGNORECASE)]


@every_route
def test_what_a_get_asks_for_is_in_its_url_and_is_read(route: Route) -> None:
    """A link or an image on another page makes browsers send a GET, so it opens, ends and spends nothing.

    The way back from paying writes down what the provider says in any case.
    """
    assert route.method in {"GET", "POST"}
    if route.method == "GET":
        assert route.body is None
        assert re.match("get_|list_|return_", route.function)


# ---------------------------------------------------------------- table and catalog


def test_each_function_that_answers_is_in_the_table(database: Database) -> None:
    rows = database.query("select proname from pg_proc where prorettype = 'api.reply'::regtype")
    answering = sorted(name for (name,) in rows)
    second = {route.second_statement.name for route in ROUTES if route.second_statement}
    assert answering == sorted([*BY_FUNCTION, *second, HEALTH.name, "ok", "page", "refused"])


@every_route
def test_the_function_takes_what_the_route_passes(database: Database, route: Route) -> None:
    [(names,)] = database.query(
        "select coalesce(proargnames, '{}') from pg_proc where proname = %s and pronamespace = 'api'::regnamespace",
        route.function,
    )
    # Of many users, each parameter is an array and may have a plural.
    taken = [name.removesuffix("s") for name in names] if route.serves_many else names
    passed = [name.removesuffix("s") for name in route.parameters] if route.serves_many else route.parameters
    assert taken == [f"p_{name}" for name in (*passed, *(["wait"] if route.serves_many else []))]


@pytest.fixture(scope="module")
def as_gateway(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.gateway_url) as connection:
        yield connection


@pytest.mark.parametrize("statement", [HEALTH, *(route.statement for route in ROUTES)], ids=lambda found: found.name)
def test_the_gateways_role_can_prepare_the_sql(as_gateway: psycopg.Connection[Any], statement: Statement) -> None:
    result = as_gateway.pgconn.prepare(statement.name.encode(), statement.sql.encode())
    assert result.status == pq.ExecStatus.COMMAND_OK, result.error_message


def test_no_two_routes_share_a_path_or_a_function() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len(BY_FUNCTION) == len(ROUTES)


# ---------------------------------------------------------------- table and document


def test_the_document_has_the_routes_and_nothing_else() -> None:
    keys = {("GET", path) for path in (public_keys.PATH, *public_keys.OLDER_PATHS)}
    assert set(OPERATIONS) == {(route.method, route.path) for route in ROUTES} | keys


def test_every_path_that_is_served_is_in_the_document_or_for_operators() -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in create_app(load(SETTINGS)).router.routes()
        if route.resource and route.method != "HEAD"
    }
    for_operators = re.compile(r"/(health(/live|/ready|/serving)?|metrics|openapi\.json|docs(/[a-z.-]+)?)/?")
    others = {(method, path) for method, path in served if not for_operators.fullmatch(path)}
    assert others == {(method, form) for method, path in OPERATIONS for form in forms(path)}


@every_route
def test_an_operation_is_named_and_described_after_its_route(route: Route) -> None:
    assert operation(route)["operationId"] == route.function
    assert operation(route)["summary"] == route.summary


@every_route
def test_an_operation_has_one_success_and_the_statuses_of_its_problems(route: Route) -> None:
    statuses = {int(status) for status in operation(route)["responses"]}
    assert {status for status in statuses if status < 400} == {route.status}
    assert {CODES[code][0] for code in route.problems} <= statuses
    assert set(route.problems) <= documented(route)


@every_route
def test_an_operation_asks_for_a_bearer_token_where_the_route_does(route: Route) -> None:
    security = operation(route).get("security", [])
    assert ({"bearer": []} in security) == (route.access in {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN})
    assert ({} in security) == (route.access is Access.BEARER_OR_REFRESH_TOKEN)


@every_route
def test_an_operation_takes_the_fields_of_its_body(route: Route) -> None:
    if not route.body:
        assert "requestBody" not in operation(route)
        return
    reference = operation(route)["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
    assert msgspec.convert(route.body.example, route.body)
    assert operation(route)["requestBody"]["content"]["application/json"].get("example", {}) == route.body.example
    fields = msgspec.structs.fields(route.body)
    assert list(schema["properties"]) == [field.encode_name for field in fields]
    assert schema.get("required", []) == [field.encode_name for field in fields if field.required]
    assert schema["additionalProperties"] is False


@every_route
def test_an_operation_takes_the_parameters_of_its_query(route: Route) -> None:
    names = [p["name"] for p in operation(route).get("parameters", []) if p["in"] == "query"]
    assert names == ([field.encode_name for field in msgspec.structs.fields(route.query)] if route.query else [])


def test_every_reference_in_the_document_leads_somewhere() -> None:
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert references
    assert references <= set(DOCUMENT["components"]["schemas"])


async def test_the_document_is_served(service: Service) -> None:
    reply = await service.get("/openapi.json")
    assert (reply.status, reply.body) == (200, DOCUMENT)


# ---------------------------------------------------------------- document and answers


@pytest.fixture(scope="module")
async def session(gateway: Gateway, database: Database) -> AsyncIterator[Session]:
    """A user who has one of everything."""
    async with Service(gateway.url) as client:
        user = await client.new_session(deviceId="phone-1", deviceName="a phone")
        database.query("select credits.seed_packages()")
        database.query(
            "insert into credits.purchases (id, user_id, credits, price_euro_cents, created_at)"
            " values (base.uuid_v7(now()), %s, 100, 500, now())",
            user.user_id,
        )
        yield user


async def ask(session: Session, function: str, body: object = None, *, query: str = "", **options: Any) -> Reply:
    route = BY_FUNCTION[function]
    return await session.service.request(route.method, route.path + query, body=body, **options)


def one_of(body: Any) -> dict[str, Any]:
    """The body, or the first of a list of bodies."""
    found: dict[str, Any] = body[0] if isinstance(body, list) else body
    return found


def assert_documented(route: Route, reply: Reply) -> None:
    """The answer is what the models say, to the last field, and no other."""
    content = operation(route)["responses"][str(reply.status)]["content"]
    if reply.status < 400:
        example = content["application/json"]["example"]
        if reply.body and route.answer is not Validation:  # an empty list, or one of two forms
            assert set(one_of(example)) == set(one_of(reply.body))
        assert reply.status == route.status
        assert msgspec.to_builtins(msgspec.convert(reply.body, route.answer)) == reply.body
        return
    assert msgspec.to_builtins(msgspec.convert(reply.body, ProblemDocument)) == reply.body
    assert reply.body["code"] in documented(route)
    example = content["application/problem+json"]["examples"][reply.body["code"]]["value"]
    assert set(reply.body) == set(example)
    if reply.body["code"] in TEXTS and reply.body["code"] not in SEVERAL:
        assert reply.body["detail"] == example["detail"]
    assert reply.status == CODES[reply.body["code"]][0]


def new_user(name: str) -> dict[str, Any]:
    return {"email": f"{name}@example.com", "password": PASSWORD}


SPEND = {"amount": 1, "appId": "tests", "description": "a test"}

# function, body, query, signed in, expected status
WALK: list[tuple[str, Any, str, bool, int]] = [
    ("register_user", new_user("walk"), "", False, 201),
    ("register_user", {**new_user("walk-with-name"), "name": "Ada"}, "", False, 201),
    ("register_user", new_user("walk"), "", False, 409),
    ("register_user", {}, "", False, 400),
    ("log_in", new_user("walk"), "", False, 200),
    ("log_in", {**new_user("walk-with-name"), "deviceId": "d", "deviceName": "D"}, "", False, 200),
    ("log_in", {**new_user("walk"), "password": "wrong password"}, "", False, 401),
    ("refresh_session", {"refreshToken": "garbage"}, "", False, 401),
    ("validate", {"token": "garbage"}, "", False, 200),
    ("log_out", {"refreshToken": "garbage"}, "", False, 401),
    ("log_out", None, "", False, 401),
    ("use_credits", {**SPEND, "idempotencyKey": "walk", "metadata": {"a": [1, None, {"b": "c"}]}}, "", True, 200),
    ("use_credits", {**SPEND, "idempotencyKey": "walk"}, "", True, 422),
    ("use_credits", {**SPEND, "amount": 1_000_000}, "", True, 402),
    ("use_credits", {**SPEND, "expectedVersion": 0}, "", True, 409),
    ("use_credits", {**SPEND, "amount": "1"}, "", True, 400),
    ("list_transactions", None, "?limit=1&offset=1&type=usage&appId=tests", True, 200),
    ("list_transactions", None, "?idempotencyKey=walk&appId=tests", True, 200),
    ("list_transactions", None, "?limit=0", True, 400),
    ("start_purchase", {"packageId": "01890a5d-ac96-774b-bcce-b302099a8057"}, "", True, 404),
    ("start_purchase", {}, "", True, 400),
    ("get_purchase", None, "", True, 404),
    ("return_from_checkout", None, "", False, 404),
    ("start_refund", None, "", True, 404),
    ("get_customer", None, "", True, 404),
    ("receive_event", {}, "", False, 400),
]
# Each route that takes a bearer token, with its example and without a token.
WALK += [
    (route.function, route.body.example or None if route.body else None, "", signed_in, status)
    for route in ROUTES
    if route.access is Access.BEARER
    for signed_in, status in ((True, route.status), (False, 401))
    if not (signed_in and route.outside)
]


@pytest.mark.parametrize("step", WALK, ids=lambda step: f"{step[0]} {step[4]}")
async def test_an_answer_is_as_documented(session: Session, step: tuple[str, Any, str, bool, int]) -> None:
    function, body, query, signed_in, status = step
    token = session.access_token if signed_in else None
    reply = await ask(session, function, body, query=query, token=token)
    assert reply.status == status, reply.text
    assert_documented(BY_FUNCTION[function], reply)


async def test_tokens_are_answered_as_documented(session: Session) -> None:
    other = await session.service.session(session.email)
    for function, body in (
        ("validate", {"token": other.access_token}),
        ("refresh_session", {"refreshToken": other.refresh_token}),
        ("log_out", None),
    ):
        reply = await ask(session, function, body, token=other.access_token)
        assert reply.status == 200, reply.text
        assert_documented(BY_FUNCTION[function], reply)


def test_the_walk_visits_every_route() -> None:
    assert {step[0] for step in WALK} == set(BY_FUNCTION)


async def test_lists_that_were_checked_are_not_empty(session: Session) -> None:
    for path in ("transactions", "purchases", "packages"):
        assert (await session.get(f"/api/v1/credits/{path}")).body, path


# ---------------------------------------------------------------- codes

# Every route sends these in tests/py/system/test_older_clients.py; a body that is late takes ten seconds, once in
# tests/py/http/test_attacks_http.py.
OF_THE_SERVER = {"too_many_requests", "internal_error", "service_unavailable", "request_timeout"}
# They say what is not there, how much is too much, and which type it has to be.
SEVERAL = {"not_found", "payload_too_large", "unsupported_media_type"}
# With a provider that answers, tests/py/api/test_purchases.py sends these.
OF_PAYMENTS = {
    "not_visible_yet", "payments_not_configured", "payments_unavailable", "purchase_not_paid", "purchases_blocked",
    "refund_not_possible",
}  # fmt: skip


@pytest.fixture(scope="module")
async def dead_tokens(gateway: Gateway, database: Database, session: Session) -> dict[str, str]:
    """Access tokens that do not work, by their code."""
    ended, changed, disabled = [await session.service.new_session() for _ in range(3)]
    await ended.post("/api/v1/auth/logout")
    database.query("select auth.set_role(%s, 'admin')", changed.email)
    database.query("update auth.users set disabled_at = now() where email = %s", disabled.email)  # no session ends
    ring = KeyDirectory(gateway.data_dir / "keys").load()
    expired = TokenIssuer(lambda: ring, "manacore", "manacore", -31)
    return {
        "session_ended": ended.access_token,
        "role_changed": changed.access_token,
        "account_disabled": disabled.access_token,
        "token_expired": expired.sign({"sub": ended.user_id, "sessionId": ended.user_id, "role": "user"}),
        "invalid_token": "garbage",
        "authentication_required": "",
    }


@pytest.fixture(scope="module")
async def without_account(database: Database, session: Session) -> AsyncIterator[Session]:
    """A user whose account is gone, as no function of ours leaves one."""
    user = await session.service.new_session()
    tables = ("credits.ledger_entries", "credits.transactions", "credits.balances")
    rows = "".join(f"delete from {table} where user_id = '{user.user_id}';" for table in tables)
    database.query(f"set session_replication_role = replica;{rows}")
    yield user
    tables = ("auth.sessions", "auth.refresh_tokens", "auth.passwords", "auth.security_events")
    rows = "".join(f"delete from {table} where user_id = '{user.user_id}';" for table in tables)
    database.query(f"set session_replication_role = replica;{rows}delete from auth.users where id = '{user.user_id}'")


@every_route
async def test_each_code_that_the_document_names_is_sent(  # noqa: PLR0912
    database: Database, session: Session, without_account: Session, dead_tokens: dict[str, str], route: Route
) -> None:
    replies: list[Reply] = []

    async def send(body: object = None, token: str | None = None, **options: Any) -> None:
        query = options.pop("query", "")
        replies.append(await ask(session, route.function, body, query=query, token=token, **options))

    of_user = {"token": session.access_token} if route.access is Access.BEARER else {}
    if route.body:
        await send(data=b"[", **of_user)
        await send(data=b" " * 70_000, **of_user)
        await send(data=b"{}", headers={"Content-Type": "text/plain"}, **of_user)
    if route.query:
        await send(query="?userId=x" if route.in_path else "?limit=0", **of_user)
    if route.in_path:
        await send(**of_user)
    if route.access is Access.SIGNED:
        await send(data=b"{}")
        signature = stripe.WebhookSignature.generate_signature_header("{}", PAYMENTS["STRIPE_WEBHOOK_SECRET"])
        await send(data=b"{}", headers={"Stripe-Signature": signature})
        await send(data=b" " * (MAX_SIGNED + 1))
        await send(data=b"{}", headers={"Content-Encoding": "gzip"})
    if route.access in {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN}:
        example = dict(route.body.example) if route.body else None
        for token in dead_tokens.values():
            await send(example, token or None)
    if "invalid_refresh_token" in documented(route):
        await send({"refreshToken": "garbage"})
    if route.function == "register_user":
        await send(new_user("weak") | {"password": "password"})
        await send({"email": session.email, "password": PASSWORD})
    elif route.function == "log_in":
        await send({"email": session.email, "password": "wrong password"})
        disabled = await session.service.register()
        database.query("select auth.set_disabled(%s, true)", disabled.body["email"])
        await send({"email": disabled.body["email"], "password": PASSWORD})
    elif route.function == "use_credits":
        await send({**SPEND, "idempotencyKey": "codes"}, **of_user)
        replies.pop()
        await send({**SPEND, "idempotencyKey": "codes", "amount": 2}, **of_user)
        await send({**SPEND, "amount": 1_000_000}, **of_user)
        await send({**SPEND, "expectedVersion": 0}, **of_user)
        await send(SPEND, without_account.access_token)
    elif route.function == "start_purchase":
        first, second = (await session.get("/api/v1/credits/packages")).body[:2]
        await send({"packageId": session.user_id}, **of_user)
        await send({"packageId": first["id"], "idempotencyKey": "codes"}, **of_user)
        replies.pop()
        await send({"packageId": second["id"], "idempotencyKey": "codes"}, **of_user)
    elif route.function in {"get_balance", "get_customer"}:
        await send(token=without_account.access_token)

    for reply in replies:
        assert_documented(route, reply)
    assert {reply.body["code"] for reply in replies} == documented(route) - OF_THE_SERVER - OF_PAYMENTS


RAISED = re.findall(r"sqlstate 'PT(\d+)'\s+using\s+message = '(\w+)'", FUNCTIONS)
LISTED = re.findall(r"\('(\w+)', +(\d{3}), ", (ROOT / "sql/functions/base/refusals/refusal.sql").read_text())


def test_the_codes_in_the_functions_were_found() -> None:
    assert len(RAISED) == len(re.findall(r"raise sqlstate 'PT", FUNCTIONS))
    assert {code for _, code in RAISED} <= {code for code, _ in LISTED}


@pytest.mark.parametrize(("status", "code"), sorted({*RAISED, *((status, code) for code, status in LISTED)}))
def test_a_code_of_a_function_has_the_status_of_its_sqlstate(status: str, code: str) -> None:
    assert CODES[code][0] == int(status)


@pytest.mark.parametrize("code", CODES)
def test_a_code_of_the_list_is_used(code: str) -> None:
    gateway = ROOT / "gateway"
    lists = {gateway / "problems.py", gateway / "http" / "docs" / "document.py", *(gateway / "api").glob("*.py")}
    python = [path.read_text() for path in gateway.rglob("*.py") if path not in lists]
    problems = (ROOT / "gateway" / "problems.py").read_text().partition("class ManaError")[2]
    assert re.search(rf"""["']{code}["']""", "\n".join([FUNCTIONS, problems, *python]))


@every_route
def test_a_route_documents_codes_of_the_list_alone(route: Route) -> None:
    assert set(route.problems) <= set(CODES)
