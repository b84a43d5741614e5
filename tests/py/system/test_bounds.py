"""No allowed input makes the service work without bounds, whichever door it comes through."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from harness.clients import Service, Session, assert_problem
from harness.databases import Cluster, Database
from harness.doors import backend_login
from harness.places import ROOT
from proof import bounds

USE = "/api/v1/credits/use"


@pytest.fixture(scope="module")
def backend_url(database: Database) -> Iterator[str]:
    with backend_login(database) as url:
        yield url


@pytest.fixture
async def user(service: Service) -> Session:
    return await service.new_session()


def spend_in_sql(url: str, user: Session, **fields: str | None) -> str:
    """The metadata of the receipt of a spend by a backend, or the SQLSTATE and the detail of its refusal."""
    request = {"app_id": "tests", "description": "a test", "idempotency_key": None, "metadata": None, **fields}
    with psycopg.connect(url) as connection:
        try:
            connection.execute("select auth.act_as(%s)", (user.user_id,))
            cursor = connection.execute(
                "select metadata::text, replayed from credits.use_credits(1, %s, %s, %s, %s)", [*request.values()]
            )
        except psycopg.Error as error:
            return f"{error.sqlstate} {error.diag.message_detail if error.sqlstate == 'PT400' else ''}".strip()
        [row] = cursor.fetchall()
        return f"{row[0]} {'replayed' if row[1] else 'new'}"


async def spend_over_http(user: Session, **fields: str) -> str:
    """The status, and what is shown of the metadata: the text itself, not what a parser makes of it."""
    fields = {"amount": "1", "appId": '"tests"', "description": '"a test"', **fields}
    body = ",".join(f'"{name}":{value}' for name, value in fields.items())
    reply = await user.post(USE, data=f"{{{body}}}".encode())
    if reply.status != 200:
        assert_problem(reply, 400, "invalid_request")
        return reply.body["detail"]
    replayed = "replayed" if reply.headers.get("Idempotency-Replayed") else "new"
    _, _, rest = reply.text.partition('"metadata" : ')
    shown, _, _ = rest.partition(', "idempotencyKey"')
    return f"{shown} {replayed}"


KEPT = {
    "nearer to zero than a double": ('{"a":1e-400}', '{"a": 0.' + "0" * 399 + "1}"),
    "more digits than a double": ('{"a":0.1234567890123456789}', '{"a": 0.1234567890123456789}'),
    "a large whole number": ('{"a":12345678901234567890123}', '{"a": 12345678901234567890123}'),
    "zeros at the end": ('{"a":[1.00, 1E2, -0]}', '{"a": [1.00, 100, 0]}'),
    "an escape": (r'{"\u00e4":"\ud83d\ude00\u0001"}', '{"ä": "\U0001f600\\u0001"}'),
    "the longest": (json.dumps({"a": "x" * 4087}), json.dumps({"a": "x" * 4087})),
}


@pytest.mark.parametrize("what", KEPT)
async def test_metadata_is_kept_exactly_and_a_retry_through_the_other_door_is_one(
    backend_url: str, user: Session, what: str
) -> None:
    sent, shown = KEPT[what]
    assert await spend_over_http(user, metadata=sent, idempotencyKey='"k-1"') == f"{shown} new"
    assert spend_in_sql(backend_url, user, metadata=sent, idempotency_key="k-1") == f"{shown} replayed"
    assert spend_in_sql(backend_url, user, metadata=sent, idempotency_key="k-2") == f"{shown} new"
    assert await spend_over_http(user, metadata=sent, idempotencyKey='"k-2"') == f"{shown} replayed"


NO_CHARACTER = "has a character that is not allowed (NUL or half a surrogate pair)"
TOO_LONG = "metadata: must have at most 4096 bytes as PostgreSQL writes it."
REFUSED = {
    "64 KB of short numbers": ('{"a":[' + "1e308," * 10_700 + "1]}", TOO_LONG, f"PT400 {TOO_LONG}"),
    "48 KB of text": (json.dumps({"a": "x" * 48_000}), TOO_LONG, f"PT400 {TOO_LONG}"),
    "4097 bytes": (json.dumps({"a": "x" * 4088}), TOO_LONG, f"PT400 {TOO_LONG}"),
    "4000 decimals": ('{"a":[1e-4000,1e-4000]}', TOO_LONG, f"PT400 {TOO_LONG}"),
    "no double": ('{"a":1e309}', "metadata.a: is a number out of range", "PT400 metadata: has a number out of range."),
    "no number of PostgreSQL": ('{"a":1e131072}', "metadata.a: is a number out of range", "22"),
    "no exponent": (f'{{"a":1e{"9" * 30}}}', "metadata.a: is a number out of range", "22"),
    "33 levels": ('{"a":' * 32 + "1" + "}" * 32, "metadata: is nested deeper than 32 levels",
                  "PT400 metadata: must not be nested deeper than 32 levels."),
    "NUL": (r'{"a":"\u0000"}', f"metadata.a: {NO_CHARACTER}", "22"),
    "half a pair": (r'{"a":"\ud800"}', f"metadata.a: {NO_CHARACTER}", "22"),
    "not a number": ('{"a":NaN}', "body: is not valid JSON in UTF-8", "22"),
    "infinity": ('{"a":-Infinity}', "body: is not valid JSON in UTF-8", "22"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_what_one_door_refuses_in_metadata_the_other_refuses_too(
    database: Database, backend_url: str, user: Session, what: str
) -> None:
    sent, over_http, in_sql = REFUSED[what]
    assert await spend_over_http(user, metadata=sent) == over_http
    assert spend_in_sql(backend_url, user, metadata=sent).startswith(in_sql)
    assert (await user.balance())["totalSpent"] == 0


@pytest.mark.parametrize(
    ("field", "parameter", "value"),
    [
        ("appId", "app_id", "my app"),
        ("appId", "app_id", "ada@example.com"),
        ("appId", "app_id", "chat\n"),
        ("idempotencyKey", "idempotency_key", "   "),
        ("idempotencyKey", "idempotency_key", "k\u200b"),
        ("idempotencyKey", "idempotency_key", "\u202ek"),
    ],
)
async def test_a_text_without_its_form_is_refused_at_both_doors(
    backend_url: str, user: Session, field: str, parameter: str, value: str
) -> None:
    assert (await spend_over_http(user, **{field: json.dumps(value)})).startswith(f"{field}: ")
    assert spend_in_sql(backend_url, user, **{parameter: value}).startswith(f"PT400 {parameter}: ")
    assert (await user.balance())["totalSpent"] == 0


def test_the_worst_user_costs_little_and_others_do_not_notice(cluster: Cluster) -> None:
    """The short form of `make soak ARGS=bounds`."""
    compose = (ROOT / "docker-compose.yml").read_text()
    assert "mem_limit: 512m" in compose
    assert "mem_limit: ${POSTGRES_MEMORY:-2g}" in compose
    report = bounds.run(cluster, many=2_000, seconds=4)
    assert report.problems(slack=5) == []
