"""HTTP as an attacker writes it, byte by byte: each request has the one meaning that a proxy in front would see too.

A case sends its bytes with another request behind them, and lists the status of every answer until the
connection is closed. One answer too many is a request that was smuggled.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from harness.clients import Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import Gateway, grows_by_less_than
from harness.wire import answers, exchange, head, statuses

LIVE = "/health/live"
VALIDATE = "/api/v1/auth/validate"
BODY = b'{"token":"a"}'
JUST_REFUSED = [400]  # and the connection closed, whatever comes after


def post(*headers: str, body: bytes = BODY) -> bytes:
    return head(VALIDATE, "Content-Type: application/json", *headers, method="POST") + body


def chunked(body: bytes, *headers: str) -> bytes:
    return post("Transfer-Encoding: chunked", *headers, body=body)


LAST = head("/a-second-request", "Connection: close")  # 404


TWO_LENGTHS = {
    "length and chunks": chunked(b"0\r\n\r\n", "Content-Length: 5"),
    "chunks and length": post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "the same length twice": post("Content-Length: 13", "Content-Length: 13"),
    "two different lengths": post("Content-Length: 13", "Content-Length: 0"),
    "a list of lengths": post("Content-Length: 13, 13"),
    "a length with a plus": post("Content-Length: +13"),
    "a length in hex": post("Content-Length: 0xd"),
    "a length with an underscore": post("Content-Length: 1_3"),
    "a length with a space in it": post("Content-Length: 1 3"),
    "an empty length": post("Content-Length:"),
    "a space before the colon of the length": post("Content-Length : 13"),
    "a space before the colon of the encoding": post("Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "an unknown encoding": post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "an encoding after chunked": post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunked twice": post("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two encodings": chunked(b"0\r\n\r\n", "Transfer-Encoding: identity"),
    "identity and length": post("Transfer-Encoding: identity", "Content-Length: 13"),
    "chunked behind a vertical tab": post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "chunks in HTTP/1.0": chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "chunks folded out of sight": post("Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
}
BAD_CHUNKS = {
    "a chunk below zero": chunked(b"-1\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk of more than 2 to the 64": chunked(b"1000000000000000d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk with 0x": chunked(b"0xd\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk with a bare LF": chunked(b"d\n" + BODY + b"\n0\n\n"),
    "a chunk that ends elsewhere": chunked(b"d\r\n" + BODY + b"XX0\r\n\r\n"),
    "a chunk extension with a bare LF": chunked(b"d;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a trailer that is a header of ours": chunked(b"d\r\n" + BODY + b"\r\n0\r\nContent-Length: 5\r\n\r\n"),
}
BAD_LINES = {
    "bare LF for every line end": head(LIVE).replace(b"\r\n", b"\n"),
    "one bare LF": head(LIVE, "X-A: a\nX-B: b"),
    "one bare CR": head(LIVE, "X-A: a\rX-B: b"),
    "a folded header": head(LIVE, "X-A: a\r\n b"),
    "a folded first header": head(LIVE).replace(b"Host", b" Host"),
    "a space before a colon": head(LIVE, "X-A : a"),
    "a space in a header's name": head(LIVE, "X A: a"),
    "a header without a colon": head(LIVE, "nonsense"),
    "a header without a name": head(LIVE, ": a"),
    "NUL in a header": head(LIVE, "X-A: a\0b"),
    "NUL in a header's name": head(LIVE, "X\0A: a"),
    "no host": head(LIVE).replace(b"Host: x\r\n", b""),
    "two hosts": head(LIVE, "Host: y"),
    "a line end in the path": head(LIVE + "%0d%0a\r\nX-A: b"),
    "a tab in the request line": head(LIVE).replace(b" ", b"\t", 2),
    "a method in small letters": head(LIVE, method="get"),
    "a path with a backslash first": head("\\health\\live"),
    "HTTP/1.2": head(LIVE, version="1.2"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a request behind one that closes": head(LIVE, "Connection: close"),
    "a request behind one of HTTP/1.0": head(LIVE, version="1.0"),
}
TOO_LONG = {
    "a header of 1 MB": head(LIVE, "X-A: " + "a" * 2**20),
    "a header's name of 1 MB": head(LIVE, "a" * 2**20 + ": a"),
    "10000 headers": head(LIVE, *(f"X-{i}: a" for i in range(10_000))),
    "a path of 1 MB": head("/" + "a" * 2**20),
    "a method of 100 KB": head(LIVE, method="A" * 100_000),
}
ANSWERED = {
    "a path of another host": (head("http://evil.example/api/v1/credits/balance"), [401, 404]),
    "empty lines before a request": (b"\r\n\r\n" + head(LIVE), [200, 404]),
    "a body for GET": (head(LIVE, f"Content-Length: {len(LAST)}") + LAST, [200, 404]),
    "a chunk extension": (chunked(b"d;a=b\r\n" + BODY + b"\r\n0\r\n\r\n"), [200, 404]),
    "a chunk extension of 100 KB": (chunked(b"d;" + b"a" * 100_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), [200, 404]),
    "gzip within chunks": (
        post("Transfer-Encoding: gzip, chunked", body=b"3\r\n\x1f\x8b\x08\r\n0\r\n\r\n"), [400, 404]),
    "TRACE": (head(VALIDATE, "X-Secret: do-not-show", method="TRACE"), [405, 404]),
    "CONNECT": (head("example.com:443", method="CONNECT"), [404, 404]),
    "OPTIONS of everything": (head("*", method="OPTIONS"), [404, 404]),
    "another method in a header": (
        head("/api/v1/credits/balance", "X-HTTP-Method-Override: POST", "X-Method-Override: POST"), [401, 404]),
}  # fmt: skip
OTHERS = {
    "HTTP/0.9": b"GET /health/live\r\n\r\n",
    "HTTP/2.0 in plain text": head(LIVE, version="2.0"),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
}


@pytest.fixture(scope="module")
async def session(gateway: Gateway) -> AsyncIterator[Session]:
    async with Service(gateway.url) as client:
        yield await client.new_session()


REFUSED = TWO_LENGTHS | BAD_CHUNKS | BAD_LINES


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_two_meanings_is_refused_and_nothing_after_it_is_read(gateway: Gateway, what: str) -> None:
    assert statuses(gateway.url, REFUSED[what] + LAST) == JUST_REFUSED


@pytest.mark.parametrize("what", TOO_LONG)
def test_what_is_too_long_is_refused_and_nothing_after_it_is_read(gateway: Gateway, what: str) -> None:
    # The answer may be lost with the connection, when the rest was still on its way.
    assert statuses(gateway.url, TOO_LONG[what] + LAST) in (JUST_REFUSED, [])
    assert exchange(gateway.url, head(LIVE)).status == 200


@pytest.mark.parametrize("what", ANSWERED)
def test_what_is_odd_has_one_answer_and_the_request_after_it_its_own(gateway: Gateway, what: str) -> None:
    sent, expected = ANSWERED[what]
    received = answers(gateway.url, sent + LAST)
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)] == expected
    assert b"do-not-show" not in received


@pytest.mark.parametrize("what", OTHERS)
def test_another_protocol_is_refused_or_has_no_answer(gateway: Gateway, what: str) -> None:
    """Nor has it an answer without a status line, as HTTP/0.9 would."""
    received = answers(gateway.url, OTHERS[what] + LAST)
    assert re.match(rb"HTTP/1\.\d 400 ", received) or not received
    assert len(re.findall(rb"HTTP/\d\.\d \d", received)) <= 1


def test_an_upgrade_that_nobody_offers_is_ignored(gateway: Gateway) -> None:
    for protocol in ("h2c", "websocket", "TLS/1.3"):
        reply = exchange(gateway.url, head(LIVE, "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}"))
        assert reply.status == 200
        assert "Upgrade" not in reply.headers


# ---------------------------------------------------------------- paths

OTHER_PATHS = [
    "//health/live", "/health//live", "/health%2flive", "/health/%2e%2e/health/live", "/a/../health/live",
    "/./health/live", "/health/live//", "/health/live;a=b", "/health/live%00", "/health\\live",
    "/api/v1/credits/../credits/balance", "/api/v1/credits/%2e%2e/credits/balance",
    "/api/v1/%2e/credits/balance", "/api/v1//credits/balance", "//api/v1/credits/balance",
    "/api/v1/credits%2fbalance", "/api/v1/credits%252fbalance", "/API/v1/credits/balance",
    "/api/v1/credits/balance%20", "/api/v1/credits/balance%09", "/api/v1/credits/balance.json",
    "/api/v1/auth/..", "/docs/../../etc/passwd", "/docs/%2e%2e/%2e%2e/openapi.py",
    "/docs/..%2f..%2fopenapi.py", "/docs/%2e%2e%2fopenapi.py", "/docs//etc/passwd",
    "/docs/%c0%ae%c0%ae/openapi.py", "/docs/start.js%00.html", "/docs/start.js/..", "/.well-known/../docs",
    "/.env", "/keys/keys.json", "/../../../../etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_a_path_is_what_it_says_and_never_what_it_could_be_made_into(session: Session, path: str) -> None:
    """Otherwise a rule of a proxy that goes by the path would hold for one spelling of many."""
    reply = exchange(session.service.url, head(path, f"Authorization: Bearer {session.access_token}"))
    assert_problem(reply, 404, "not_found")


# ---------------------------------------------------------------- who is in front

LOGIN_FAILS = b'{"email":"%s","password":"not the password"}'


@pytest.fixture(scope="module")
def proxied_gateway(database: Database) -> Iterator[Gateway]:
    with Gateway(database.gateway_url, {"TRUSTED_PROXIES": "1"}) as running:
        yield running


def noted_address(database: Database, gateway: Gateway, session: Session, *headers: str) -> str:
    """The address that the database notes for a failed login with these headers."""
    request_id = secrets.token_hex(8)
    body = LOGIN_FAILS % session.email.encode()
    sent = head(
        "/api/v1/auth/login", "Content-Type: application/json", f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}", *headers, method="POST",
    )  # fmt: skip
    assert exchange(gateway.url, sent + body).status == 401
    [(address,)] = database.query("select host(ip_address) from auth.security_events where request_id = %s", request_id)
    return str(address)


NOT_THE_PROXYS = [
    "X_Forwarded_For", "X-Forwarded_For", "X_Forwarded-For", "X.Forwarded.For", "X-Forwarded.For", "XForwarded-For",
    "X-Forwarded-For-", "X-Original-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP",
    "CF-Connecting-IP", "X-Remote-Addr", "Remote_Addr", "X-Cluster-Client-IP", "Via",
]  # fmt: skip


@pytest.mark.parametrize("name", NOT_THE_PROXYS)
def test_a_header_that_only_looks_like_the_proxys_says_nothing(
    database: Database, proxied_gateway: Gateway, session: Session, name: str
) -> None:
    forged = f"{name}: 198.51.100.66" if name != "Forwarded" else "Forwarded: for=198.51.100.66"
    assert noted_address(database, proxied_gateway, session, forged) == "127.0.0.1"
    real = "X-Forwarded-For: 203.0.113.9"
    assert noted_address(database, proxied_gateway, session, forged, real) == "203.0.113.9"
    assert noted_address(database, proxied_gateway, session, real, forged) == "203.0.113.9"


def test_without_a_trusted_proxy_no_header_says_who_calls(
    database: Database, gateway: Gateway, session: Session
) -> None:
    assert noted_address(database, gateway, session, "X-Forwarded-For: 203.0.113.9") == "127.0.0.1"


# ---------------------------------------------------------------- many, and slow


def test_ten_thousand_requests_in_one_go_are_answered_in_order_and_not_piled_up(gateway: Gateway) -> None:
    count = 10_000
    requests = b"".join(head(LIVE, f"X-Request-Id: {i}") for i in range(count - 1))
    with grows_by_less_than(64 * 2**20, gateway):
        received = answers(gateway.url, requests + head(LIVE, f"X-Request-Id: {count - 1}", "Connection: close"))
    assert [int(number) for number in re.findall(rb"X-Request-Id: (\d+)\r", received)] == list(range(count))
    assert received.count(b"HTTP/1.1 200 OK") == count


def test_a_body_that_trickles_in_is_given_up(gateway: Gateway) -> None:
    """The time is that of the whole body: a byte now and then does not win more."""
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), 60) as connection:
        connection.sendall(post("Content-Length: 1000"))
        started = time.monotonic()
        connection.settimeout(0.2)
        received = b""
        while not received and time.monotonic() - started < 60:
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(2**16)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in received


def test_connections_that_never_say_what_they_want_keep_nobody_waiting(gateway: Gateway) -> None:
    parts = urlsplit(gateway.url)
    with contextlib.ExitStack() as stack:
        for i in range(500):
            connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port), 60))
            connection.sendall(head(LIVE)[: i % 40])
        assert exchange(gateway.url, head(LIVE)).status == 200
    assert exchange(gateway.url, head(LIVE)).status == 200


def test_none_of_it_was_unexpected(gateway: Gateway) -> None:
    assert [line for line in gateway.output if '"level":"error"' in line or "Traceback" in line] == []
