"""What a client sends to get more than its due: bodies that grow, and fields that are not its to set."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from functools import cache

import pytest

from harness.clients import Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import Gateway, grows_by_less_than
from harness.wire import exchange, head

USE = "/api/v1/credits/use"
VALIDATE = "/api/v1/auth/validate"
INFLATED = 48 * 2**20  # bytes, of less than 64 KiB


@pytest.fixture(scope="module")
async def session(gateway: Gateway) -> AsyncIterator[Session]:
    async with Service(gateway.url) as client:
        yield await client.new_session()


@pytest.fixture(scope="module")
async def victim(gateway: Gateway, session: Session) -> Session:
    return await session.service.new_session()


# ---------------------------------------------------------------- bombs


@cache
def gzipped() -> bytes:
    return gzip.compress(b'{"token":"' + b"a" * INFLATED + b'"}')


def deflated(bits: int) -> bytes:
    return zlib.compressobj(9, wbits=bits).compress(b"a" * INFLATED)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", gzipped),
    "x-gzip": ("x-gzip", gzipped),
    "gzip in capitals": ("GZIP", gzipped),
    "deflate": ("deflate", lambda: deflated(15)),
    "deflate without its header": ("deflate", lambda: deflated(-15)),
    "gzip in gzip": ("gzip, gzip", lambda: gzip.compress(gzipped())),
    "identity and gzip": ("identity, gzip", gzipped),
    "gzip and identity": ("gzip, identity", gzipped),
    "br": ("br", lambda: b"\x1b" + b"\xff" * 1000),
    "zstd": ("zstd", lambda: b"\x28\xb5\x2f\xfd" + b"\0" * 1000),
    "an encoding that nobody knows": ("x", gzipped),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_refused_and_not_inflated(gateway: Gateway, session: Session, what: str) -> None:
    encoding, make = BOMBS[what]
    body = make()
    assert len(body) < 60_000, "it would be refused for its length"
    headers = ("Content-Type: application/json", f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}")
    token = f"Authorization: Bearer {session.access_token}"

    def send(path: str, *more: str) -> Reply:
        return exchange(gateway.url, head(path, *headers, *more, method="POST") + body)

    with grows_by_less_than(INFLATED // 2, gateway):
        assert_problem(send(VALIDATE), 415, "unsupported_media_type")
        assert_problem(send(USE, token), 415, "unsupported_media_type")
        assert_problem(send(USE), 401, "authentication_required")  # who asks comes before what for


def test_a_bomb_in_the_transfer_is_not_inflated_either(gateway: Gateway) -> None:
    body = gzipped()
    start = head(VALIDATE, "Content-Type: application/json", "Transfer-Encoding: gzip, chunked", method="POST")
    with grows_by_less_than(INFLATED // 2, gateway):
        reply = exchange(gateway.url, start + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
    assert_problem(reply, 400, "invalid_request")


# ---------------------------------------------------------------- fields that are not the client's to set


def rows(database: Database, user: Session) -> list[tuple[object, ...]]:
    """Who somebody is and what they have."""
    return database.query(
        "select u.id::text, u.email, u.role::text, u.email_verified, u.disabled_at, b.balance,"
        " b.free_credits_remaining, b.version"
        " from auth.users as u join credits.balances as b on b.user_id = u.id where u.id = %s",
        user.user_id,
    )


async def test_metadata_is_kept_and_never_obeyed(database: Database, session: Session, victim: Session) -> None:
    theirs = rows(database, victim)
    metadata = {
        "userId": victim.user_id, "user_id": victim.user_id, "p_user_id": victim.user_id, "sub": victim.user_id,
        "role": "admin", "isAdmin": True, "amount": -1000, "balance": 10**9, "type": "purchase", "idempotencyKey": "x",
        "__proto__": {"isAdmin": True, "role": "admin"}, "constructor": {"prototype": {"role": "admin"}},
        "metadata": {"role": "admin"}, "$set": {"balance": 10**9}, "expectedVersion": -1,
    }  # fmt: skip
    before = await session.balance()
    reply = await session.use(3, metadata=metadata)
    assert reply.status == 200
    made = reply.body["transaction"]
    assert (made["userId"], made["type"], made["amount"]) == (session.user_id, "usage", -3)
    assert (made["metadata"], made["idempotencyKey"]) == (metadata, None)
    after = await session.balance()
    assert (after["freeCreditsRemaining"], after["balance"]) == (before["freeCreditsRemaining"] - 3, before["balance"])
    assert rows(database, victim) == theirs
    [(_, _, role, *_)] = rows(database, session)
    assert role == "user"


ELSEWHERE = {
    "query": ("?userId={id}&user_id={id}&sub={id}&role=admin", {}),
    "headers": ("", {"X-User-Id": "{id}", "X-Role": "admin", "X-Forwarded-User": "{id}", "User-Id": "{id}"}),
    "cookies": ("", {"Cookie": "userId={id}; token={token}; accessToken={token}; session={id}"}),
    "another scheme's header": ("", {"Proxy-Authorization": "Bearer {token}", "X-Access-Token": "{token}"}),
}


@pytest.mark.parametrize("where", ELSEWHERE)
async def test_nothing_beside_the_token_says_whose_balance_it_is(session: Session, victim: Session, where: str) -> None:
    await victim.use(50)
    query, headers = ELSEWHERE[where]
    values = {"id": victim.user_id, "token": victim.access_token}
    path = "/api/v1/credits/balance" + query.format(**values)
    sent = {name: value.format(**values) for name, value in headers.items()}
    mine = await session.get(path, headers=sent)
    assert mine.status == 200
    assert mine.body == await session.balance() != await victim.balance()
    assert (await session.service.get(path, headers=sent)).status == 401


async def test_a_registration_makes_a_user_and_nothing_more(database: Database, session: Session) -> None:
    """The fields that it has, with what they might be taken for."""
    email = "role=admin&x@example.com"
    reply: Reply = await session.service.register(email, name='"},"role":"admin","x":{"y":"')
    assert reply.status == 201
    [row] = database.query("select role::text, email_verified, name from auth.users where email = %s", email)
    assert row == ("user", False, '"},"role":"admin","x":{"y":"')
    assert (await session.service.session(email)).user_id == reply.body["id"]
