"""Registration: one user an address, whole or not at all, and whatever password a person can type."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp
import pytest

from gateway.tokens import passwords
from harness.clients import PASSWORD, Reply, Service, assert_problem
from harness.databases import Cluster, Database
from harness.gateways import EVERY_GATEWAY, PEPPER, Gateway
from harness.waiting import together

# Every insert of a registration takes its time, so that a kill meets all of them.
SLOW = """
create function test.dawdle() returns trigger language plpgsql
as 'begin perform pg_sleep(random() * 0.008); return null; end';
create trigger dawdle after insert on auth.users for each row execute function test.dawdle();
create trigger dawdle after insert on auth.passwords for each row execute function test.dawdle();
create trigger dawdle after insert on auth.security_events for each row execute function test.dawdle();
create trigger dawdle after insert on credits.balances for each row execute function test.dawdle();
create trigger dawdle after insert on credits.transactions for each row execute function test.dawdle();
create trigger dawdle after insert on credits.ledger_entries for each row execute function test.dawdle();
"""

PARTS = """
select u.email,
       (select count(*) from auth.passwords as p where p.user_id = u.id),
       (select count(*) from auth.security_events as e where e.user_id = u.id and e.event_type = 'registered'),
       (select count(*) from credits.balances as b where b.user_id = u.id and b.free_credits_remaining = 150),
       (select count(*) from credits.transactions as t where t.user_id = u.id and t.type = 'bonus'),
       (select count(*) from credits.ledger_entries as l where l.user_id = u.id and l.amount = 150)
  from auth.users as u
"""

KILL_ONE_THAT_IS_BUSY = """
select pg_terminate_backend(pid)
  from pg_stat_activity
 where usename = 'mana_gateway' and datname = current_database() and state = 'active'
 order by random()
 limit 1
"""


def address() -> str:
    return f"{secrets.token_hex(8)}@example.com"


async def by_eights(call: Callable[[str], Awaitable[Reply]], emails: list[str]) -> list[Reply]:
    replies = []
    for i in range(0, len(emails), 8):
        replies += await together(*map(call, emails[i : i + 8]))
    return replies


def users(database: Database, email: str) -> int:
    [(count,)] = database.query("select count(*) from auth.users where email = %s", email)
    return int(count)


def whole_users(database: Database) -> set[str]:
    """The addresses of all users; asserts that each of them has all its parts."""
    rows = database.query(PARTS)
    assert {tuple(parts) for _, *parts in rows} <= {(1, 1, 1, 1, 1)}
    database.assert_ledger_is_sound()
    return {email for email, *_ in rows}


@pytest.fixture
def slow_database(cluster: Cluster) -> Iterator[Database]:
    with cluster.database() as created:
        created.query(SLOW)
        yield created


async def test_a_registration_answers_with_the_user(either_service: Service) -> None:
    email = address()
    reply = await either_service.register(email, name="Ada")
    assert reply.status == 201
    assert set(reply.body) == {"id", "email", "name", "createdAt"}
    assert (reply.body["email"], reply.body["name"]) == (email, "Ada")
    assert UUID(reply.body["id"]).version == 7
    assert abs(datetime.fromisoformat(reply.body["createdAt"]) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_name_is_optional(either_service: Service) -> None:
    reply = await either_service.register()
    assert (reply.status, reply.body["name"]) == (201, None)


async def test_a_new_user_has_the_signup_bonus(database: Database, either_service: Service) -> None:
    session = await either_service.new_session()
    balance = await session.balance()
    assert (balance["balance"], balance["freeCreditsRemaining"], balance["version"]) == (0, 150, 1)
    database.assert_ledger_is_sound()


async def test_a_taken_address_is_refused(either_service: Service) -> None:
    email = address()
    await either_service.register(email)
    assert_problem(await either_service.register(email), 409, "email_taken")


@EVERY_GATEWAY
async def test_of_ten_at_once_in_different_cases_one_gets_the_address(
    database: Database, either_service: Service
) -> None:
    for _ in range(10):
        email = f"ada.lovelace.{secrets.token_hex(4)}@example.com"
        spellings = [email[:i].upper() + email[i:] for i in range(10)]
        replies = await together(*(either_service.register(spelling) for spelling in spellings))
        assert sorted(reply.status for reply in replies) == [201] + [409] * 9
        assert users(database, email) == 1
    database.assert_ledger_is_sound()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ada@Example.COM", "aDA@eXAMPLE.com"),
        ("ada@bücher.example", "ada@BÜCHER.example"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        (unicodedata.normalize("NFC", "zoë@example.com"), unicodedata.normalize("NFD", "zoë@example.com")),
        ("ΟΔΥΣΣΕΥΣ@example.com", "οδυσσευσ@example.com"),
    ],
)
async def test_two_spellings_are_one_address(either_service: Service, first: str, second: str) -> None:
    tag = secrets.token_hex(4)
    first, second = f"{tag}.{first}", f"{tag}.{second}"
    assert (await either_service.register(first)).status == 201
    assert_problem(await either_service.register(second), 409, "email_taken")
    assert (await either_service.login(second)).status == 200


@pytest.mark.parametrize("email", ["İstanbul@example.com", "ẞ@example.com", "ǅ@example.com", "K@example.com"])
async def test_an_address_with_an_unusual_capital_can_log_in(either_service: Service, email: str) -> None:
    email = f"{secrets.token_hex(4)}.{email}"
    assert (await either_service.register(email)).status == 201
    assert (await either_service.login(email)).status == 200


@pytest.mark.parametrize(
    "email", ["", "ada", "@example.com", "ada@", "a da@example.com", "ada@example.com ", "a@b@c.de"]
)
async def test_what_is_no_address_is_refused(either_service: Service, email: str) -> None:
    reply = await either_service.post("/api/v1/auth/register", {"email": email, "password": PASSWORD})
    assert_problem(reply, 400, "invalid_request")
    assert [error["field"] for error in reply.body["errors"]] == ["email"]


HARD = "wX7#kq2P"  # to guess; what else is in a text that contains it does not matter


@pytest.mark.parametrize(
    "password",
    [
        HARD,
        HARD + "x" * 64,
        HARD + "x" * 65,
        HARD + "é" * 32 + "x",
        HARD + "x" * 120,
        "".join(chr(0x1F600 + n * 7 % 64) for n in range(64)),
        "   spaces   ",
        "\u0001\u007f\u2028 fine",
        unicodedata.normalize("NFD", HARD + "é" * 120),
    ],
    ids=[
        "8",
        "72 bytes",
        "73 bytes",
        "73 bytes of 41 characters",
        "128",
        "64 emoji",
        "spaces",
        "control characters",
        "128 decomposed",
    ],
)
async def test_a_password_can_be(either_service: Service, password: str) -> None:
    email = address()
    assert (await either_service.register(email, password)).status == 201
    assert (await either_service.login(email, password)).status == 200
    for other in (password[1:], password[:-1]):
        assert_problem(await either_service.login(email, other), 401, "invalid_credentials")


@pytest.mark.parametrize(
    "password",
    ["1234567", "x" * 129, "", "password\0", "password\ud800", unicodedata.normalize("NFD", "é" * 4)],
    ids=["7", "129", "empty", "NUL", "half a surrogate pair", "8 that are 4 when composed"],
)
async def test_a_password_cannot_be(database: Database, either_service: Service, password: str) -> None:
    email = address()
    reply = await either_service.register(email, password)
    assert_problem(reply, 400, "invalid_request")
    assert [error["field"] for error in reply.body["errors"]] == ["password"]
    assert users(database, email) == 0


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("password", "top-10 common password"),
        ("12345678", "top-10 common password"),
        (" " * 8, "Repeats"),
        ("grace.hopper@example.com", "your e-mail address"),
        ("GraceHopper", "your name"),
    ],
)
async def test_a_password_that_everybody_guesses_is_refused_with_the_reason(
    database: Database, either_service: Service, password: str, why: str
) -> None:
    email = "grace.hopper@example.com"
    reply = await either_service.register(email, password, name="Grace Hopper")
    assert_problem(reply, 400, "weak_password")
    assert reply.body["detail"].startswith("This password is too easy to guess. ")
    assert why in reply.body["detail"]
    assert [error["field"] for error in reply.body["errors"]] == ["password"]
    assert users(database, email) == 0


async def test_a_weak_password_from_before_still_works(database: Database, either_service: Service) -> None:
    email = address()
    database.query(
        "select auth.register_user(p_email => %s, p_password_digest => %s)", email, passwords.digest(PEPPER, "password")
    )
    assert (await either_service.login(email, "password")).status == 200


@pytest.mark.parametrize("other", [f"{HARD}{'x' * 64}", f"{HARD}{'x' * 64}b", f"{HARD}{'x' * 63}"])
async def test_every_byte_of_a_password_counts(either_service: Service, other: str) -> None:
    email = address()
    assert (await either_service.register(email, f"{HARD}{'x' * 64}a")).status == 201
    assert_problem(await either_service.login(email, other), 401, "invalid_credentials")
    assert (await either_service.login(email, f"{HARD}{'x' * 64}a")).status == 200


async def test_a_password_is_the_same_composed_and_decomposed(either_service: Service) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Žluťoučký kůň") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for registered, given in ((composed, decomposed), (decomposed, composed)):
        email = address()
        await either_service.register(email, registered)
        assert (await either_service.login(email, given)).status == 200


async def test_a_password_that_only_looks_the_same_is_another(either_service: Service) -> None:
    """NFC keeps what NFKC and a trim would not: a password loses nothing of what makes it hard to guess."""
    email = address()
    await either_service.register(email, " ﬁne \u00b2 password ")
    for other in (" fine \u00b2 password ", " ﬁne 2 password ", "ﬁne \u00b2 password", " ﬁne \u00b2 password"):
        assert_problem(await either_service.login(email, other), 401, "invalid_credentials")


async def test_nothing_of_a_password_reaches_the_database(database: Database, either_service: Service) -> None:
    reply = await either_service.register(password="a password to look for")
    [(stored,)] = database.query("select p::text from auth.passwords as p where user_id = %s", reply.body["id"])
    assert "look for" not in stored
    assert "$2a$" in stored


@pytest.fixture
async def killed_service(slow_database: Database) -> AsyncIterator[Service]:
    with Gateway(slow_database.gateway_url, {"PASSWORD_CONNECTIONS": "8"}) as gateway:
        async with Service(gateway.url) as client:
            yield client


async def test_a_killed_database_process_leaves_a_whole_user_or_none(
    slow_database: Database, killed_service: Service
) -> None:
    emails = [f"{i}@example.com" for i in range(96)]
    killed = 0

    async def kill() -> None:
        nonlocal killed
        with slow_database.connect() as connection:
            while True:
                await asyncio.sleep(0.02)
                killed += len(connection.execute(KILL_ONE_THAT_IS_BUSY).fetchall())

    killer = asyncio.create_task(kill())
    async with asyncio.timeout(120):  # an answer that never comes is a failure too
        replies = await by_eights(killed_service.register, emails)
    killer.cancel()

    assert killed > 10
    assert {reply.status for reply in replies} == {201, 503}
    there = whole_users(slow_database)
    told = {email for email, reply in zip(emails, replies, strict=True) if reply.status == 201}
    assert told <= there

    again = await by_eights(killed_service.register, emails)
    assert [reply.status for reply in again] == [409 if email in there else 201 for email in emails]
    assert whole_users(slow_database) == set(emails)
    logins = await by_eights(killed_service.login, emails)
    assert {reply.status for reply in logins} == {200}


async def test_a_killed_gateway_leaves_a_whole_user_or_none(slow_database: Database) -> None:
    emails = [f"{i}@example.com" for i in range(60)]
    with Gateway(slow_database.gateway_url, {"PASSWORD_CONNECTIONS": "8"}) as gateway:
        answered = 0
        async with Service(gateway.url) as service:

            async def register(email: str) -> None:
                nonlocal answered
                with contextlib.suppress(aiohttp.ClientError):
                    await service.register(email)
                    answered += 1
                    if answered == 10:
                        gateway.stop(signal.SIGKILL)

            await together(*map(register, emails))
        assert 10 <= answered < len(emails)
        there = whole_users(slow_database)
        assert len(there) >= 10

        gateway.start()
        async with Service(gateway.url) as service:
            again = await by_eights(service.register, emails)
            assert {reply.status for reply in again} == {201, 409}
            logins = await by_eights(service.login, emails)
            assert {reply.status for reply in logins} == {200}
        assert whole_users(slow_database) == set(emails)
