"""Bad input: a 4xx that names the field, nothing changed, nothing shown of the inside, no 5xx ever.

Values are written as JSON text, so that the table can have what Python's json would not write.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import quote

import pytest

from gateway.api.sessions import Login
from gateway.http.parsing import form_of, parse_body
from gateway.problems import MAX_ERRORS, Problem
from harness.clients import Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import Gateway
from harness.wire import exchange

REGISTER = "/api/v1/auth/register"
LOGIN = "/api/v1/auth/login"
REFRESH = "/api/v1/auth/refresh"
LOGOUT = "/api/v1/auth/logout"
VALIDATE = "/api/v1/auth/validate"
USE = "/api/v1/credits/use"
TRANSACTIONS = "/api/v1/credits/transactions"
BALANCE = "/api/v1/credits/balance"

# A good body of each route that takes one, field by field.
BODIES: dict[str, dict[str, str]] = {
    REGISTER: {"email": '"bad-input@example.com"', "password": '"correct horse battery"', "name": '"Ada"'},
    LOGIN: {
        "email": '"bad-input@example.com"',
        "password": '"correct horse battery"',
        "deviceId": '"d"',
        "deviceName": '"D"',
    },
    REFRESH: {"refreshToken": '"token"'},
    LOGOUT: {"refreshToken": '"token"'},
    VALIDATE: {"token": '"token"'},
    USE: {
        "amount": "1",
        "appId": '"tests"',
        "description": '"a test"',
        "idempotencyKey": '"key"',
        "metadata": '{"a":1}',
        "expectedVersion": "1",
    },
}
OPTIONAL = {"name", "deviceId", "deviceName", "idempotencyKey", "metadata", "expectedVersion"}

NO_TEXT = ("5", "1.5", "1e400", str(2**63), "-1", "true", "[]", "{}", '["a"]', r'"a\u0000b"', r'"\ud800"', r'"\udc00x"')
NO_NUMBER = ('"1"', "1.0", "1.5", "1e0", "1e400", str(2**63), "-1", "9" * 4000, "true", "false", "[1]", "{}", '""')

FIELDS: list[tuple[str, str, tuple[str, ...]]] = [
    (REGISTER, "email", (*NO_TEXT, '""', '"a"', '"a@b"', '"a@b.co\\n"', '"a b@example.com"', f'"{"a" * 10_000}@b.co"')),
    (REGISTER, "password", (*NO_TEXT, '""', '"1234567"', r'"e\u0301e\u0301e\u0301e\u0301"', f'"{"x" * 129}"',
                            f'"{"x" * 50_000}"')),
    (REGISTER, "name", (*NO_TEXT, r'"\u200b"', f'"{"x" * 256}"')),
    (LOGIN, "email", (*NO_TEXT, '""', f'"{"a" * 10_000}@b.co"')),
    (LOGIN, "password", (*NO_TEXT, '""', f'"{"x" * 129}"')),
    (LOGIN, "deviceId", (*NO_TEXT, r'"\ufeff"', f'"{"x" * 256}"')),
    (LOGIN, "deviceName", (*NO_TEXT, r'"\u200b "', f'"{"x" * 256}"')),
    (REFRESH, "refreshToken", (*NO_TEXT, '""', f'"{"x" * 8193}"')),
    (LOGOUT, "refreshToken", (*NO_TEXT, f'"{"x" * 8193}"')),
    (VALIDATE, "token", (*NO_TEXT, f'"{"x" * 8193}"')),
    (USE, "amount", (*NO_NUMBER, "0", "-0", "1000000001")),
    (USE, "appId", (*NO_TEXT, '""', f'"{"x" * 101}"')),
    (USE, "description", (*NO_TEXT, '""', '"  "', r'"\u200b\n"', f'"{"x" * 501}"')),
    (USE, "idempotencyKey", (*NO_TEXT, '""', '"  "', '" k"', r'"k\u200b"', r'"k\n"', f'"{"x" * 256}"')),
    (USE, "metadata", ("1", "true", "[]", '"{}"', r'{"a":"\u0000"}', r'{"\u0000":1}', r'{"a":["\ud800"]}',
                       r'{"\udc00":1}', '{"a":{"b":1e400}}', '{"a":-1e400}', '{"a":' * 33 + "1" + "}" * 33)),
    (USE, "expectedVersion", NO_NUMBER),
]  # fmt: skip

QUERIES: list[tuple[str, tuple[str, ...]]] = [
    ("limit", ("0", "-1", "1.0", "1e1", "+5", "0x10", "true", "null", "NaN", " 5", "\uff15",
               "-" + "9" * 5000, "\0")),
    ("offset", ("-1", "1.0", "1e400", "null", str(2**31), str(2**63), "9" * 5000)),
    ("before", ("5", "not-a-uuid", "null", "{00000000-0000-0000-0000-000000000000}", "a" * 5000, "\0")),
    ("type", ("null", "Usage", "usage ", "'usage'", "usage\0", "a" * 5000)),
    ("appId", ("a" * 101, "\0", "a\0b")),
]  # fmt: skip


def written(fields: dict[str, str]) -> bytes:
    return ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}").encode()


def case(*parts: str) -> str:
    return (
        " ".join(part if len(part) < 30 else f"{part[:20]}..{len(part)}" for part in parts)
        .encode("ascii", "replace")
        .decode()
    )


@pytest.fixture(scope="module")
async def session(gateway: Gateway) -> AsyncIterator[Session]:
    async with Service(gateway.url) as client:
        yield await client.new_session()


@pytest.fixture(scope="module")
def contents(database: Database) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """Each table and a digest of all its rows."""
    with database.connect() as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('auth', 'credits')"
        ).fetchall()
        digest = "select '{0}', md5(string_agg(t::text, ',' order by t::text)) from {0} as t"
        statement = " union all ".join(digest.format(table) for (table,) in tables).encode()
        yield lambda: connection.execute(statement, prepare=True).fetchall()


@pytest.fixture(autouse=True)
def nothing_changes(session: Session, contents: Callable[[], list[tuple[str, str]]]) -> Iterator[None]:
    """Whatever a test here does, every row of the database is the same afterwards."""
    before = contents()
    yield
    assert contents() == before


def assert_names(reply: Reply, field: str) -> None:
    """The reply is a 400 that names this field, and this one alone."""
    assert_problem(reply, 400, "invalid_request")
    assert [error["field"].partition(".")[0] for error in reply.body["errors"]] == [field], reply.text
    assert_shows_nothing(reply)


def assert_shows_nothing(reply: Reply) -> None:
    for inside in ("Traceback", ".py", "psycopg", "msgspec", "asyncpg", "select ", "aiohttp"):
        assert inside not in reply.text
    assert "aiohttp" not in reply.headers.get("Server", "")


# ---------------------------------------------------------------- field by field


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        pytest.param(path, field, value, id=case(path, field, value))
        for path, field, values in FIELDS
        for value in (*values, *(() if field in OPTIONAL or path == LOGOUT else ("null",)))
    ],
)
async def test_a_bad_value_is_refused_by_name(session: Session, path: str, field: str, value: str) -> None:
    reply = await session.post(path, data=written({**BODIES[path], field: value}))
    assert_names(reply, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(field, value, id=case(field, value)) for field, values in QUERIES for value in values],
)
async def test_a_bad_parameter_is_refused_by_name(session: Session, field: str, value: str) -> None:
    assert_names(await session.get(f"{TRANSACTIONS}?{field}={quote(value)}"), field)


async def test_a_parameter_called_null_is_a_word_and_no_absence(session: Session) -> None:
    reply = await session.get(f"{TRANSACTIONS}?appId=null")
    assert (reply.status, reply.body) == (200, []), "all apps' transactions are shown for appId=null"


async def test_a_parameter_given_twice_is_refused(session: Session) -> None:
    for query in ("limit=1&limit=1", "limit=1&appId=a&limit=2"):
        assert_names(await session.get(f"{TRANSACTIONS}?{query}"), "limit")


@pytest.mark.parametrize(
    "query", ["limit=", "limit=101", f"limit={2**63 - 1}", "offset=", "before=", "type=", "appId="]
)
async def test_an_empty_parameter_is_none_and_a_large_limit_the_largest(session: Session, query: str) -> None:
    reply = await session.get(f"{TRANSACTIONS}?{query}")
    assert (reply.status, len(reply.body)) == (200, 1), reply.text


@pytest.mark.parametrize("name", ["foo", "Limit", "app_id", "limit[]", "x%00", "x%ff", "x%ed%a0%80"])
async def test_an_unknown_parameter_is_ignored_however_often_it_comes(session: Session, name: str) -> None:
    reply = await session.get(f"{TRANSACTIONS}?{name}=1&{name}=2")
    assert (reply.status, len(reply.body)) == (200, 1), reply.text


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "name",
    ["isAdmin", "", "__proto__", "constructor", "Email", "app_id", "user_id", "userId", "role", "id", "sub", "balance",
     "freeCreditsRemaining", "emailVerified", "sessionId", "refreshTtl", "p_user_id", "claims", "context"],
)  # fmt: skip
async def test_an_unknown_field_is_refused_by_name(session: Session, path: str, name: str) -> None:
    assert_names(await session.post(path, data=written({**BODIES[path], name: "1"})), name)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", [r"\u0000", r"\ud800", r"a\udc00", "x" * 10_000])
async def test_an_unknown_field_with_an_odd_name_is_refused(session: Session, path: str, name: str) -> None:
    body = written(BODIES[path])[:-1] + f',"{name}":1}}'.encode()
    reply = await session.post(path, data=body)
    assert_problem(reply, 400, "invalid_request")
    assert len(reply.body["errors"]) == 1
    assert len(reply.text) < 2000


@pytest.mark.parametrize(
    ("path", "field"),
    [(path, field) for path, body in BODIES.items() for field in body if field not in OPTIONAL and path != LOGOUT],
)
async def test_a_missing_field_is_named(session: Session, path: str, field: str) -> None:
    rest = {name: value for name, value in BODIES[path].items() if name != field}
    assert_names(await session.post(path, data=written(rest)), field)


@pytest.mark.parametrize(("path", "field"), [(path, field) for path, body in BODIES.items() for field in body])
async def test_a_field_given_twice_is_refused_by_name(session: Session, path: str, field: str) -> None:
    again = f',"{field}":{BODIES[path][field]}}}'.encode()
    assert_names(await session.post(path, data=written(BODIES[path])[:-1] + again), field)


async def test_a_field_given_twice_deep_inside_is_refused_too(session: Session) -> None:
    assert_names(await session.post(USE, data=written({**BODIES[USE], "metadata": '{"a":{"b":1,"b":2}}'})), "b")


async def test_every_wrong_field_is_named_at_once(session: Session) -> None:
    reply = await session.post(USE, data=b'{"amount":"1","description":5,"foo":1}')
    assert_problem(reply, 400, "invalid_request")
    assert {error["field"] for error in reply.body["errors"]} == {"amount", "appId", "description", "foo"}


# Bodies that a careless reading takes seconds for, or answers with megabytes; all are below the limit of 64 KiB.
NULS = r'["\u0000"' + r',"\u0000"' * 3_500 + "]"
MANY_NAMES = [f'"{number:x}":1' for number in range(7_000)]
COSTLY = {
    "accents in the wrong order": written(
        BODIES[LOGIN] | {"password": '"' + "\u0300" * 16_300 + "\u0316" * 16_300 + '"'}
    ),
    "a long name before many faults": written({"k" * 32_000: NULS}),
    "faults side by side": written({"metadata": NULS}),
    "names that nobody knows": f"{{{','.join(MANY_NAMES)}}}".encode(),
    "names, one of them twice": f"{{{','.join([*MANY_NAMES, MANY_NAMES[-1]])}}}".encode(),
}


@pytest.mark.parametrize("what", COSTLY)
async def test_a_body_made_to_be_costly_is_refused_at_once_and_in_few_words(session: Session, what: str) -> None:
    body = COSTLY[what]
    assert len(body) < 64 * 1024
    began = time.process_time()
    with pytest.raises(Problem) as refused:
        parse_body(body, form_of(Login), {})
    assert time.process_time() - began < 1.5  # it was up to 4 s, and is 0.03; other processes do not count
    assert len(refused.value.errors) <= MAX_ERRORS
    reply = await session.post(LOGIN, data=body)
    assert_problem(reply, 400, "invalid_request")
    assert len(reply.text) < 16_000


# ---------------------------------------------------------------- the body as a whole

NO_OBJECT = {
    "nothing": b"",
    "white space": b" \n",
    "an array": b"[]",
    "an array of a body": b'[{"amount":1}]',
    "a string": b'"{}"',
    "null": b"null",
    "a number": b"1",
    "half an object": b'{"email":',
    "two objects": b"{}{}",
    "single quotes": b"{'email':'a'}",
    "a comment": b"{} // all",
    "a trailing comma": b'{"email":"a",}',
    "NaN": b'{"email":NaN}',
    "infinity": b'{"email":-Infinity}',
    "5000 digits": b'{"email":' + b"9" * 5000 + b"}",
    "a leading zero": b'{"amount":01}',
    "a raw surrogate": b'{"email":"\xed\xa0\x80"}',
    "no UTF-8": b'{"email":"\xff\xfe"}',
    "an overlong slash": b'{"email":"\xc0\xaf"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "a raw NUL": b'{"email":"\0"}',
    "a raw line end in a string": b'{"email":"a\nb"}',
    "1000 arrays": b'{"email":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "1000 objects": b'{"email":' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"}",
    "30000 arrays": b"[" * 30_000 + b"]" * 30_000,
    "60000 arrays that never close": b"[" * 60_000,
    "a form": b"email=a&password=b",
}


@pytest.mark.parametrize("what", NO_OBJECT)
@pytest.mark.parametrize("path", [REGISTER, USE])
async def test_a_body_that_is_no_object_is_refused(session: Session, path: str, what: str) -> None:
    reply = await session.post(path, data=NO_OBJECT[what])
    if what == "nothing":
        reply = await session.post(path)
    assert_problem(reply, 400, "invalid_request")
    assert_shows_nothing(reply)


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_of_10_mb_is_refused(session: Session, path: str) -> None:
    reply = await session.post(path, data=b'{"email":"' + b"a" * 10_000_000 + b'"}')
    assert_problem(reply, 413, "payload_too_large")


async def test_a_body_of_64_kib_is_read_and_one_byte_more_is_not(session: Session) -> None:
    padding = b" " * (64 * 1024 - len(written(BODIES[REFRESH])))
    assert_problem(await session.post(REFRESH, data=written(BODIES[REFRESH]) + padding), 401, "invalid_refresh_token")
    longer = await session.post(REFRESH, data=written(BODIES[REFRESH]) + padding + b" ")
    assert_problem(longer, 413, "payload_too_large")


async def test_100000_levels_are_too_long(session: Session) -> None:
    reply = await session.post(USE, data=written({**BODIES[USE], "metadata": "[" * 100_000 + "]" * 100_000}))
    assert_problem(reply, 413, "payload_too_large")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx",
     "application/problem+json", "", "garbage", "application/json, text/plain", "\u00e4"],
)  # fmt: skip
async def test_another_content_type_is_refused(session: Session, kind: str) -> None:
    reply = await session.post(USE, data=written(BODIES[USE]), headers={"Content-Type": kind})
    assert_problem(reply, 415, "unsupported_media_type")


# ---------------------------------------------------------------- headers


async def test_a_key_in_the_header_must_be_the_bodys(session: Session) -> None:
    reply = await session.post(USE, data=written(BODIES[USE]), headers={"Idempotency-Key": "another"})
    assert_names(reply, "idempotencyKey")


@pytest.mark.parametrize(
    "key", [b"", b"\xff\xfe", b"k" * 256, b"k" * 5000, b'"', b'""', b'" "', b'"k', b'k"', rb'"k\k"', b'"k";a=1']
)
def test_a_garbage_key_in_the_header_is_refused_by_name(session: Session, key: bytes) -> None:
    body = written({name: value for name, value in BODIES[USE].items() if name != "idempotencyKey"})
    headers = [b"Authorization: Bearer " + session.access_token.encode(), b"Idempotency-Key: " + key]
    assert_names(post(session, USE, body, headers), "idempotencyKey")


def test_two_keys_in_headers_are_refused_by_name(session: Session) -> None:
    body = written({name: value for name, value in BODIES[USE].items() if name != "idempotencyKey"})
    headers = [b"Authorization: Bearer " + session.access_token.encode(), b"Idempotency-Key: a", b"Idempotency-Key: b"]
    assert_names(post(session, USE, body, headers), "idempotencyKey")


def post(session: Session, path: str, body: bytes, headers: list[bytes]) -> Reply:
    lines = [f"POST {path} HTTP/1.1".encode(), b"Host: x", b"Content-Type: application/json"]
    lines += [b"Content-Length: %d" % len(body), *headers]
    return exchange(session.service.url, b"\r\n".join(lines) + b"\r\n\r\n" + body)


def get(session: Session, path: str, *headers: bytes) -> Reply:
    lines = [f"GET {path} HTTP/1.1".encode(), b"Host: x", *headers]
    return exchange(session.service.url, b"\r\n".join(lines) + b"\r\n\r\n")


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"Bearer  ", b"Basic YTpi", b"Digest x", b"garbage", b"\xff\xfe", b"Bearer \xff\xfe",
     b"Bearer a b c", b"Bearer null", b"Bearer ..", b"Bearer a.b.c", b"Bearer " + b"a" * 8000, b"Bearer\tabc",
     b"Bearer e30.e30.e30", b"Bearer =.=.=", b"Bearer eyJhbGciOm51bGx9.e30.x", b"Bearer W10.W10.W10"],
)  # fmt: skip
def test_a_garbage_authorization_is_a_401(session: Session, value: bytes) -> None:
    reply = get(session, BALANCE, b"Authorization: " + value)
    assert reply.status == 401, reply.text
    assert_problem(reply, 401, reply.body["code"])
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_two_authorizations_are_a_401(session: Session) -> None:
    good = b"Authorization: Bearer " + session.access_token.encode()
    assert get(session, BALANCE, b"Authorization: Bearer garbage", good).status == 401
    assert get(session, BALANCE, good, b"Authorization: Bearer garbage").status == 401


def test_an_authorization_longer_than_any_token_is_refused(session: Session) -> None:
    for length in (9_000, 100_000):
        reply = get(session, BALANCE, b"Authorization: Bearer " + b"a" * length)
        assert 400 <= reply.status < 500
        assert "aaaa" not in reply.text, "a credential is quoted back"


@pytest.mark.parametrize("given", ["a" * 65, "a" * 5000, "a b", "<script>", '"}', "\u00e4", "", "a/b", "a,b"])
def test_an_odd_request_id_is_replaced(session: Session, given: str) -> None:
    reply = get(session, BALANCE, b"X-Request-Id: " + given.encode())
    assert reply.status == 401
    assert reply.headers["X-Request-Id"] != given
    assert reply.body["instance"] == f"urn:request:{reply.headers['X-Request-Id']}"


@pytest.mark.parametrize("value", [b"a\r\n b", b"a\nX-Evil: b", b"a\rb", b"a\0b", b"\r\n\tb"])
def test_a_header_with_a_line_end_or_a_nul_is_refused(session: Session, value: bytes) -> None:
    reply = get(session, BALANCE, b"X-Request-Id: " + value)
    assert 400 <= reply.status < 500
    assert "X-Evil" not in reply.headers


@pytest.mark.parametrize("agent", [b"\xff\xfe", b"a" * 8000, b"\xed\xa0\x80", b"", "\u00e4\U0001f600".encode()])
@pytest.mark.parametrize("header", [b"User-Agent", b"X-Forwarded-For", b"Origin", b"Accept-Encoding"])
def test_any_bytes_in_a_header_that_is_only_noted_do_no_harm(session: Session, header: bytes, agent: bytes) -> None:
    reply = get(session, BALANCE, b"Authorization: Bearer " + session.access_token.encode(), header + b": " + agent)
    assert reply.status == 200, reply.text


# ---------------------------------------------------------------- HTTP itself

CHUNKED = (
    f"POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
)
SIZED = f"POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ".encode()

NO_HTTP = {
    "a chunk without a size": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a length below zero": SIZED + b"-5\r\n\r\n{}",
    "a length of 26 digits": SIZED + b"9" * 26 + b"\r\n\r\n{}",
    "a length that is a word": SIZED + b"two\r\n\r\n{}",
    "two lengths": SIZED + b"2\r\nContent-Length: 3\r\n\r\n{} ",
    "an unknown method": f"FOO {LOGIN} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "a NUL in the path": b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the path": b"GET /a\xffb HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the query": f"GET {TRANSACTIONS}?appId=".encode() + b"\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path of 9000 characters": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an invalid URL": b"GET http://[::1/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "an expectation that nobody has": SIZED + b"2\r\nExpect: a miracle\r\n\r\n{}",
}


@pytest.mark.parametrize("what", NO_HTTP)
def test_what_is_no_http_is_a_4xx(session: Session, what: str) -> None:
    reply = exchange(session.service.url, NO_HTTP[what])
    assert 400 <= reply.status < 500, reply.text
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("what", NO_HTTP)
def test_what_is_no_http_is_answered_in_the_form_of_every_error(session: Session, what: str) -> None:
    reply = exchange(session.service.url, NO_HTTP[what])
    assert reply.headers["Content-Type"] == "application/problem+json", reply.text
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert_shows_nothing(reply)


@pytest.mark.parametrize("path", ["/nowhere", "/health/live", "/openapi.json", "/.well-known/jwks.json", "/docs", "/"])
def test_an_expectation_that_nobody_has_is_a_problem_everywhere(session: Session, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\nX-Request-Id: expects\r\n\r\n"
    reply = exchange(session.service.url, request.encode())
    assert_problem(reply, 400, "invalid_request")
    assert reply.body["instance"] == f"urn:request:{reply.headers['X-Request-Id']}" == "urn:request:expects"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Server"] == "mana"


def test_a_chunked_body_of_10_mb_is_refused(session: Session) -> None:
    chunks = b"".join(b"10000\r\n" + b"a" * 65_536 + b"\r\n" for _ in range(160))
    assert_problem(exchange(session.service.url, CHUNKED + chunks + b"0\r\n\r\n"), 413, "payload_too_large")


def test_who_hangs_up_in_the_middle_of_a_body_is_no_fault_of_ours(gateway: Gateway, session: Session) -> None:
    port = int(gateway.url.rpartition(":")[2])
    request_id = f"hung-up-{secrets.token_hex(4)}"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(SIZED + b"500\r\nX-Request-Id: " + request_id.encode() + b"\r\n\r\n{")
    deadline = time.monotonic() + 20
    while not (lines := [line for line in gateway.output if request_id in line]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all('"level":"error"' not in line and '"status":500' not in line for line in lines), lines


@pytest.mark.parametrize(
    "path", ["/a%00b", "/a%ffb", "/a%ed%a0%80b", "//example.com/%2e%2e/docs", "/%2e%2e/%2e%2e/etc/passwd"]
)
def test_an_odd_path_is_a_404(session: Session, path: str) -> None:
    assert_problem(get(session, path), 404, "not_found")


def test_a_connection_goes_on_after_a_refusal(session: Session) -> None:
    connection = http.client.HTTPConnection(session.service.url.removeprefix("http://"), timeout=30)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("POST", REGISTER, b"garbage", {"Content-Type": "application/json"})
        refused = connection.getresponse()
        refused.read()
        assert refused.status == 400
        connection.request("GET", "/health/live")
        answered = connection.getresponse()
        answered.read()
        assert answered.status == 200
        assert connection.sock is first
    connection.close()


async def test_the_gateway_saw_nothing_unexpected(gateway: Gateway, session: Session) -> None:
    assert (await session.balance())["version"] >= 1
    assert gateway.process
    assert gateway.process.poll() is None
    assert [
        line for line in gateway.output if '"unexpected"' in line or "database_error" in line or "Traceback" in line
    ] == []
