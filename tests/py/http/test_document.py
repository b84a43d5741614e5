"""The OpenAPI document says what validators ask for and what generators of clients can read.

`make clients-test` tries the tools themselves.
"""

from __future__ import annotations

import json
import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from gateway.api import headers, public_keys
from gateway.api.transactions import READ_BY_A_FILTER
from gateway.http.docs import schemas
from gateway.http.docs.document import document
from gateway.http.docs.examples import TEXTS
from gateway.problems import CODES
from harness.clients import Reply, Service
from harness.databases import Database
from harness.gateways import Gateway
from harness.places import ROOT

DOCUMENT: dict[str, Any] = json.loads(document())
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
HEADERS: dict[str, dict[str, Any]] = DOCUMENT["components"]["headers"]
OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def parts(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the document, with its place."""
    if isinstance(node, dict):
        yield where, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from parts(child, f"{where}/{name}")


def typed() -> list[tuple[str, dict[str, Any], list[str]]]:
    """Every schema with a type: its place, itself, and its types."""
    found = [
        (where, node, [node["type"]] if isinstance(node["type"], str) else node["type"])
        for where, node in parts(DOCUMENT)
        if isinstance(node.get("type"), str | list) and "securitySchemes" not in where and "example" not in where
    ]
    assert len(found) > 100
    return found


def names_in(node: Any) -> set[str]:
    """The schemas that a part of the document leads to."""
    found: set[str] = set()
    to_read = [node]
    while to_read:
        names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(to_read.pop()))) - found
        found |= names
        to_read += [SCHEMAS[name] for name in names]
    return found


REQUESTS = names_in([operation.get("requestBody") for operation in OPERATIONS.values()])
ANSWERS = names_in([operation["responses"] for operation in OPERATIONS.values()])


# ---------------------------------------------------------------- schemas


def test_an_integer_has_64_bits_and_no_other_format() -> None:
    integers = [(where, node) for where, node, types in typed() if "integer" in types]
    assert [where for where, node in integers if node.get("format") != "int64"] == []
    places = {where.rpartition("/")[2] for where, _ in integers}
    assert {"amount", "balance", "credits", "version", "expectedVersion"} <= places


def test_a_choice_of_texts_says_that_it_is_a_text() -> None:
    choices = [(where, node) for where, node in parts(DOCUMENT) if isinstance(node.get("enum"), list)]
    assert choices
    assert [where for where, node in choices if node.get("type") != "string"] == []


def test_a_value_or_null_is_one_schema_with_two_types() -> None:
    assert [where for where, node in parts(DOCUMENT) if {"type": "null"} in node.get("anyOf", [])] == []
    assert [where for where, node in parts(DOCUMENT) if "default" in node and node["default"] is None] == []
    assert any(types == ["string", "null"] for _, _, types in typed())


def test_an_answer_may_gain_fields_and_a_request_may_not_have_unknown_ones() -> None:
    assert not REQUESTS & ANSWERS
    assert set(SCHEMAS) == REQUESTS | ANSWERS
    assert {name for name in SCHEMAS if SCHEMAS[name]["additionalProperties"] is False} == REQUESTS
    assert {name for name in SCHEMAS if SCHEMAS[name]["additionalProperties"] is True} == ANSWERS
    objects = [(where, node) for where, node, types in typed() if "object" in types]
    assert [where for where, node in objects if "additionalProperties" not in node] == []


def test_rules_of_schemas_hold_at_any_depth() -> None:
    null, number = {"type": "null"}, {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
    assert schemas.explicit({"type": "array", "items": {"type": "object", "additionalProperties": number}}) == {
        "type": "array",
        "items": {"type": "object", "additionalProperties": {"type": ["integer", "null"], "format": "int64"}},
    }
    # A reference has no type that null could join.
    reference = {"anyOf": [null, {"$ref": "#/components/schemas/User"}]}
    assert schemas.explicit(reference) == reference


# ---------------------------------------------------------------- names

# Generators rename a model that is called like one of these, in any case.
RESERVED = {word.lower() for word in keyword.kwlist} | {
    "abstract", "any", "array", "boolean", "byte", "case", "chan", "char", "configuration", "const", "date", "default",
    "double", "enum", "error", "extends", "file", "final", "float", "fun", "func", "function", "go", "goto",
    "implements", "int", "integer", "interface", "internal", "list", "long", "map", "native", "new", "number",
    "object", "optional", "package", "private", "protected", "public", "range", "record", "request", "response",
    "select", "set", "short", "static", "string", "struct", "super", "switch", "this", "throw", "type", "typealias",
    "val", "var", "void", "volatile", "when",
}  # fmt: skip


def test_no_schema_is_named_like_a_word_of_a_language() -> None:
    assert {name for name in SCHEMAS if name.lower() in RESERVED} == set()


def test_no_two_schemas_get_the_same_name_in_go() -> None:
    """Go's generator makes a type and constructors of each; in a file system without case, files clash as well."""
    made = [
        form.format(name).lower()
        for name in SCHEMAS
        for form in ("{}", "New{}", "New{}WithDefaults", "Nullable{}", "NewNullable{}")
    ]
    assert [name for name, times in Counter(made).items() if times > 1] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_two_fields_of_a_schema_differ_in_case_alone(name: str) -> None:
    fields = [field.lower().replace("_", "") for field in SCHEMAS[name]["properties"]]
    assert len(set(fields)) == len(fields)


# ---------------------------------------------------------------- operations


def test_the_service_is_where_the_document_comes_from() -> None:
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]


@every_operation
def test_an_operation_has_a_summary_a_tag_and_a_rule_of_access(operation: Mapping[str, Any]) -> None:
    assert operation["summary"]
    assert len(operation["tags"]) == 1
    assert isinstance(operation["security"], list)  # empty where everybody may call


def test_the_bound_of_a_filter_is_that_of_the_function() -> None:
    body = (ROOT / "sql/functions/api/transactions/list_transactions.sql").read_text()
    assert re.findall(r"c_read constant int := (\d+);", body) == [str(READ_BY_A_FILTER)]
    parameters = {p["name"]: p["schema"].get("description", "") for p in OPERATIONS["list_transactions"]["parameters"]}
    bounded = {name for name, description in parameters.items() if f"{READ_BY_A_FILTER:,} transactions" in description}
    assert bounded == {"offset", "type", "appId"}


@every_operation
def test_every_error_is_a_problem(operation: Mapping[str, Any]) -> None:
    errors = {status: response for status, response in operation["responses"].items() if int(status) >= 400}
    assert any(400 <= int(status) < 500 for status in errors)
    for response in errors.values():
        content = response["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
        assert set(content["examples"]) == set(response["description"].partition(": ")[2].split(", "))


@every_operation
def test_each_body_has_an_example_that_its_schema_allows(operation: Mapping[str, Any]) -> None:
    bodies = [operation["requestBody"]] if operation.get("requestBody", {}).get("required") else []
    for body in (*bodies, *operation["responses"].values()):
        [content] = body["content"].values()
        validator = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})
        examples = [each["value"] for each in content.get("examples", {}).values()] or [content["example"]]
        for example in examples:
            validator.validate(example)
            assert example


def test_an_example_of_an_error_says_what_the_database_says() -> None:
    listed = (ROOT / "sql/functions/base/refusals/refusal.sql").read_text()
    texts = dict(re.findall(r"\('(\w+)', +\d{3}, '(.*)'\)", listed))
    del texts["authentication_required"], texts["not_found"]  # for backends, and what the API says in other words
    sent = {code: text for code, text in texts.items() if code in TEXTS}
    assert len(sent) > 8
    assert {code: TEXTS[code] for code in sent} == sent


@every_operation
def test_an_example_of_an_error_has_its_status_and_its_path(operation: Mapping[str, Any]) -> None:
    path = next(path for path, methods in DOCUMENT["paths"].items() if operation in methods.values())
    for status, response in operation["responses"].items():
        for code, example in response["content"].get("application/problem+json", {}).get("examples", {}).items():
            body = example["value"]
            assert (body["status"], body["code"], body["path"]) == (int(status), code, path)
            assert CODES[code][0] == int(status)


def test_an_alias_is_marked_and_leads_to_the_same() -> None:
    aliases = [OPERATIONS[name] for name in OPERATIONS if OPERATIONS[name].get("deprecated")]
    assert len(aliases) == len(public_keys.OLDER_PATHS)
    original = OPERATIONS["get_key_set"]
    for alias in aliases:
        assert alias["responses"]["200"] == original["responses"]["200"]


@every_operation
def test_a_response_declares_the_headers_of_its_status(operation: Mapping[str, Any]) -> None:
    limited = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy"}
    for status, response in operation["responses"].items():
        declared = set(response["headers"])
        assert "X-Request-Id" in declared
        assert declared & limited == (set() if operation["tags"] == ["keys"] else limited)
        assert ("Retry-After" in declared) == (status in {"429", "503"})
        assert ("WWW-Authenticate" in declared) == (status == "401")


def test_every_reference_to_a_header_leads_to_one_that_is_exposed_to_browsers() -> None:
    references = set(re.findall(r'"#/components/headers/([\w-]+)"', json.dumps(DOCUMENT)))
    assert references == set(HEADERS) == {header.name for header in headers.ALL}


# ---------------------------------------------------------------- answers


@pytest.fixture(scope="module")
def limited(database: Database) -> Iterator[Gateway]:
    """A gateway with limits that a test can reach."""
    limits = {"RATE_LIMIT_MAX": "100", "RATE_LIMIT_AUTH_MAX": "4", "RATE_LIMIT_TTL": "3600"}
    limits["CORS_ORIGINS"] = "https://app.example.com"
    with Gateway(database.gateway_url, limits) as running:
        yield running


def assert_declared(operation_id: str, reply: Reply, plain: Reply) -> set[str]:
    """An answer has headers that the document declares, beside those of any answer. Returns the former."""
    declared = OPERATIONS[operation_id]["responses"][str(reply.status)]["headers"]
    of_cors = {name for name in lower(reply.headers) if name.startswith("access-control-")}
    assert lower(reply.headers) - lower(declared) - of_cors <= lower(plain.headers), operation_id
    return {name for name in declared if name in reply.headers}


def lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


async def test_the_headers_of_an_answer_are_declared_and_the_declared_are_sent(limited: Gateway) -> None:
    async with Service(limited.url) as service:
        plain = await service.get("/health/live")
        registered = await service.register()
        always = assert_declared("register_user", registered, plain)
        assert always == {header.name for header in headers.EVERYWHERE}

        session = await service.session(registered.body["email"])
        used = [await session.use(idempotencyKey="once") for _ in range(2)]
        assert assert_declared("use_credits", used[0], plain) == always
        assert assert_declared("use_credits", used[1], plain) == {*always, "Idempotency-Replayed"}
        page = await session.get("/api/v1/credits/transactions?limit=1")
        assert assert_declared("list_transactions", page, plain) == {*always, "Link"}
        stranger = await service.get("/api/v1/credits/balance")
        assert assert_declared("get_balance", stranger, plain) == {*always, "WWW-Authenticate"}

        guesses = [await service.login("nobody@example.com") for _ in range(4)]
        assert assert_declared("log_in", guesses[0], plain) == {*always, "WWW-Authenticate"}
        assert guesses[-1].status == 429
        assert assert_declared("log_in", guesses[-1], plain) == {*always, "Retry-After"}

        keys = await service.get("/.well-known/jwks.json")
        assert assert_declared("get_key_set", keys, plain) == {"Cache-Control", "X-Request-Id"}
    seen = always | {"Idempotency-Replayed", "Link", "WWW-Authenticate", "Retry-After", "Cache-Control"}
    assert seen == set(HEADERS), "the document declares what no test has seen"


def test_a_header_that_requests_may_have_is_declared() -> None:
    declared = {p["name"] for operation in OPERATIONS.values() for p in operation.get("parameters", [])}
    read = set()
    for path in (ROOT / "gateway" / "http").rglob("*.py"):
        read |= set(re.findall(r'request\.headers\.get(?:all)?\("([\w-]+)"', path.read_text()))
    of_http = {"Authorization", "Content-Encoding", "Expect", "Origin", "User-Agent", "X-Forwarded-For"}
    assert read - of_http == {"Idempotency-Key", "Stripe-Signature", "X-Request-Id"}
    assert {"Idempotency-Key", "Stripe-Signature"} <= declared
    assert "X-Request-Id" in DOCUMENT["info"]["description"]


async def test_a_browser_may_read_every_declared_header(limited: Gateway) -> None:
    async with Service(limited.url) as service:
        reply = await service.get("/api/v1/credits/packages", headers={"Origin": "https://app.example.com"})
    assert lower(HEADERS) <= lower(reply.headers["Access-Control-Expose-Headers"].replace(" ", "").split(","))
