"""Sessions: what a login leaves behind, one lineage of refresh tokens, and an end that is an end everywhere."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest

from gateway.api.route import Access
from gateway.api.table import ROUTES
from gateway.tokens.access_tokens import TokenIssuer
from gateway.tokens.keys import KeyDirectory
from harness.clients import Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.doors import waiting_for_a_lock
from harness.gateways import EVERY_GATEWAY, Gateway
from harness.waiting import together, until

BEARER_ROUTES = [route for route in ROUTES if route.access in {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN}]


@pytest.fixture(autouse=True)
def real_time(database: Database) -> Iterator[None]:
    yield
    database.move_clock(timedelta())


@pytest.fixture
def slow_rotation(database: Database) -> Iterator[None]:
    """Using a refresh token up takes its time, so that others arrive in the middle of it."""
    database.query(
        """create function test.dawdle() returns trigger language plpgsql
           as 'begin perform pg_sleep(0.03); return null; end';
           create trigger dawdle after update on auth.refresh_tokens for each row execute function test.dawdle()"""
    )
    yield
    database.query("drop function test.dawdle() cascade")


@pytest.fixture
async def session(either_service: Service) -> Session:
    return await either_service.new_session()


def claims(access_token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(access_token, options={"verify_signature": False})
    return found


def session_id(session: Session) -> str:
    return str(claims(session.access_token)["sessionId"])


def events(database: Database, user_id: str) -> list[str]:
    rows = database.query("select event_type from auth.security_events where user_id = %s order by id", user_id)
    return [event for (event,) in rows]


def is_revoked(database: Database, session: Session) -> bool:
    [(revoked,)] = database.query("select revoked_at is not null from auth.sessions where id = %s", session_id(session))
    return bool(revoked)


def tokens(database: Database, session: Session) -> tuple[int, int]:
    """How many refresh tokens a session has had, and how many of them are unused."""
    [(issued, unused)] = database.query(
        "select count(*), count(*) filter (where used_at is null) from auth.refresh_tokens where session_id = %s",
        session_id(session),
    )
    return issued, unused


async def validate(session: Session) -> Any:
    reply = await session.service.post("/api/v1/auth/validate", {"token": session.access_token})
    assert reply.status == 200
    return reply.body


async def log_out_by_refresh_token(service: Service, refresh_token: str) -> Reply:
    return await service.post("/api/v1/auth/logout", {"refreshToken": refresh_token})


async def refreshed(session: Session) -> Session:
    """The session with its next tokens."""
    reply = await session.service.refresh(session.refresh_token)
    assert reply.status == 200, reply.text
    body = reply.body
    return Session(session.service, session.user_id, session.email, body["accessToken"], body["refreshToken"])


async def assert_works(session: Session) -> None:
    assert (await session.get("/api/v1/credits/balance")).status == 200
    assert (await validate(session))["valid"] is True


async def assert_refused_everywhere(session: Session, code: str) -> None:
    for route in BEARER_ROUTES:
        body = route.body.example if route.body and route.access is Access.BEARER else None
        reply = await session.service.request(route.method, route.path, token=session.access_token, body=body)
        assert_problem(reply, 401, code)
    assert await validate(session) == {"valid": False, "error": code}


async def assert_ended(session: Session) -> None:
    await assert_refused_everywhere(session, "session_ended")
    assert_problem(await session.service.refresh(session.refresh_token), 401, "invalid_refresh_token")


# Login


async def test_a_login_answers_with_user_and_tokens(either_service: Service, session: Session) -> None:
    reply = await either_service.login(session.email)
    assert set(reply.body) == {"user", "accessToken", "refreshToken", "expiresIn", "tokenType"}
    assert reply.body["user"] == {"id": session.user_id, "email": session.email, "name": None, "role": "user"}
    assert (reply.body["expiresIn"], reply.body["tokenType"]) == (900, "Bearer")


async def test_a_login_records_device_address_and_user_agent(database: Database, either_service: Service) -> None:
    session = await either_service.new_session()
    reply = await either_service.post(
        "/api/v1/auth/login",
        {"email": session.email, "password": "correct horse battery", "deviceId": "d-1", "deviceName": "Ada's phone"},
        headers={"User-Agent": "mana-tests/1.0"},
    )
    found = claims(reply.body["accessToken"])
    assert (found["sub"], found["deviceId"]) == (session.user_id, "d-1")
    recorded = database.query(
        "select device_id, device_name, host(ip_address), user_agent from auth.sessions where id = %s",
        found["sessionId"],
    )
    assert recorded == [("d-1", "Ada's phone", "127.0.0.1", "mana-tests/1.0")]
    [logged_in] = database.query(
        "select event_type, host(ip_address), user_agent, request_id from auth.security_events where session_id = %s",
        found["sessionId"],
    )
    assert logged_in == ("logged_in", "127.0.0.1", "mana-tests/1.0", reply.headers["X-Request-Id"])


async def test_a_login_without_a_device_has_none(database: Database, session: Session) -> None:
    assert "deviceId" not in claims(session.access_token)
    recorded = database.query("select device_id, device_name from auth.sessions where id = %s", session_id(session))
    assert recorded == [(None, None)]


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    either_service: Service, session: Session
) -> None:
    wrong = await either_service.login(session.email, "not her password")
    unknown = await either_service.login(f"{secrets.token_hex(8)}@example.com", "not her password")
    no_address = await either_service.login("nobody", "not her password")
    answers = []
    for reply in (wrong, unknown, no_address):
        assert_problem(reply, 401, "invalid_credentials")
        body = {name: value for name, value in reply.body.items() if name not in {"instance", "timestamp"}}
        headers = {name: value for name, value in reply.headers.items() if name.lower() not in {"x-request-id", "date"}}
        answers.append((body, headers))
    assert answers[0] == answers[1] == answers[2]


async def test_a_wrong_password_leaves_an_event(database: Database, either_service: Service, session: Session) -> None:
    reply = await either_service.login(session.email, "not her password")
    assert events(database, session.user_id) == ["registered", "logged_in", "login_failed"]
    [(request_id,)] = database.query(
        "select request_id from auth.security_events where user_id = %s and event_type = 'login_failed'",
        session.user_id,
    )
    assert request_id == reply.headers["X-Request-Id"]


async def test_a_disabled_user_is_told_only_with_the_right_password(
    database: Database, either_service: Service, session: Session
) -> None:
    database.query("select auth.set_disabled(%s, true)", session.email)
    assert_problem(await either_service.login(session.email), 401, "account_disabled")
    assert_problem(await either_service.login(session.email, "not her password"), 401, "invalid_credentials")
    assert events(database, session.user_id)[-3:] == ["disabled", "login_refused", "login_failed"]


async def test_a_deleted_user_cannot_log_in(database: Database, either_service: Service, session: Session) -> None:
    database.query("update auth.users set deleted_at = now() where id = %s", session.user_id)
    assert_problem(await either_service.login(session.email), 401, "invalid_credentials")


# Refresh


async def test_a_refresh_rotates_the_token(database: Database, session: Session) -> None:
    following = await refreshed(session)
    assert following.refresh_token != session.refresh_token
    assert session_id(following) == session_id(session)
    assert tokens(database, session) == (2, 1)
    await assert_works(following)


async def test_a_refresh_answers_as_a_login_does(session: Session) -> None:
    reply = await session.service.refresh(session.refresh_token)
    assert set(reply.body) == {"user", "accessToken", "refreshToken", "expiresIn", "tokenType"}
    assert reply.body["user"] == {"id": session.user_id, "email": session.email, "name": None, "role": "user"}


async def test_a_session_lives_as_long_as_it_is_refreshed(database: Database, session: Session) -> None:
    for day in range(6, 25, 6):
        database.move_clock(timedelta(days=day))
        session = await refreshed(session)
    await assert_works(session)


async def test_the_database_has_no_refresh_token(database: Database, session: Session) -> None:
    following = await refreshed(session)
    [(dump,)] = database.query("select string_agg(t::text, ' ') from auth.refresh_tokens as t")
    for token in (session.refresh_token, following.refresh_token):
        assert token not in dump
        assert token.partition(".")[2] not in dump


async def test_a_retry_gets_the_same_successor(database: Database, session: Session) -> None:
    first, second = await refreshed(session), await refreshed(session)
    assert first.refresh_token == second.refresh_token
    assert tokens(database, session) == (2, 1)
    await assert_works(first)
    await assert_works(second)


async def test_a_retry_seconds_later_gets_the_same_successor(database: Database, session: Session) -> None:
    first = await refreshed(session)
    # Real seconds pass too: leave some of the ten to a slow machine.
    database.move_clock(timedelta(seconds=5))
    assert (await refreshed(session)).refresh_token == first.refresh_token
    assert events(database, session.user_id)[-1] == "refresh_token_repeated"
    assert tokens(database, session) == (2, 1)


async def test_a_reuse_after_the_grace_ends_the_session(database: Database, session: Session) -> None:
    following = await refreshed(session)
    await assert_works(following)
    database.move_clock(timedelta(seconds=11))
    reply = await session.service.refresh(session.refresh_token)
    assert_problem(reply, 401, "invalid_refresh_token")
    assert reply.body["message"] == "Invalid refresh token"
    assert events(database, session.user_id)[-1] == "refresh_token_reused"
    await assert_ended(session)
    await assert_ended(following)


async def test_a_reuse_after_the_successor_was_used_ends_the_session(database: Database, session: Session) -> None:
    following = await refreshed(session)
    last = await refreshed(following)
    await assert_works(last)
    assert_problem(await session.service.refresh(session.refresh_token), 401, "invalid_refresh_token")
    assert events(database, session.user_id)[-1] == "refresh_token_reused"
    await assert_ended(following)
    await assert_ended(last)


async def test_a_reuse_is_recorded_once(database: Database, session: Session) -> None:
    await refreshed(session)
    database.move_clock(timedelta(seconds=11))
    await together(*(session.service.refresh(session.refresh_token) for _ in range(5)))
    assert events(database, session.user_id).count("refresh_token_reused") == 1


@EVERY_GATEWAY
@pytest.mark.usefixtures("slow_rotation")
async def test_fifty_refreshes_at_once_leave_one_lineage(database: Database, session: Session) -> None:
    replies = await together(*(session.service.refresh(session.refresh_token) for _ in range(50)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body["refreshToken"] for reply in replies}) == 1
    assert tokens(database, session) == (2, 1)

    following = await refreshed(session)
    last = await refreshed(following)
    assert tokens(database, session) == (3, 1)
    await assert_works(last)


@EVERY_GATEWAY
@pytest.mark.usefixtures("slow_rotation")
async def test_old_and_new_token_at_once_leave_at_most_one_lineage(database: Database, either_service: Service) -> None:
    for _ in range(5):
        session = await either_service.new_session()
        following = await refreshed(session)
        replies = await together(
            *(
                either_service.refresh(token)
                for _ in range(5)
                for token in (session.refresh_token, following.refresh_token)
            )
        )
        assert {reply.status for reply in replies} <= {200, 401}
        assert len({reply.body["refreshToken"] for reply in replies if reply.status == 200}) <= 2
        assert tokens(database, session) in {(2, 1), (3, 1)}
        assert is_revoked(database, session) == (401 in {reply.status for reply in replies})


@EVERY_GATEWAY
@pytest.mark.usefixtures("slow_rotation")
async def test_a_refresh_that_races_logout_leaves_nothing_that_works(
    database: Database, either_service: Service
) -> None:
    for _ in range(15):
        session = await either_service.new_session()
        refresh, logout = await together(
            either_service.refresh(session.refresh_token), session.post("/api/v1/auth/logout")
        )
        assert logout.status == 200
        assert is_revoked(database, session)
        if refresh.status == 200:
            body = refresh.body
            session = Session(either_service, session.user_id, session.email, body["accessToken"], body["refreshToken"])
        else:
            assert_problem(refresh, 401, "invalid_refresh_token")
        assert_problem(await session.get("/api/v1/credits/balance"), 401, "session_ended")
        assert_problem(await either_service.refresh(session.refresh_token), 401, "invalid_refresh_token")


async def test_a_token_that_is_deleted_while_its_refresh_waits_gets_no_successor(
    database: Database, session: Session
) -> None:
    """A login forgets the tokens that have expired; one may do so between a refresh's look and its lock."""
    with database.connect() as other, other.transaction():
        other.execute("select from auth.sessions where user_id = %s for update", (session.user_id,))
        refresh = asyncio.create_task(session.service.refresh(session.refresh_token))
        await until(lambda: waiting_for_a_lock(database))
        other.execute("delete from auth.refresh_tokens where user_id = %s", (session.user_id,))
    assert_problem(await refresh, 401, "invalid_refresh_token")
    assert tokens(database, session) == (0, 0)


@EVERY_GATEWAY
@pytest.mark.parametrize("ends", ["log out", "disable"])
async def test_a_spend_that_races_the_end_of_its_session_is_made_or_refused(
    database: Database, either_service: Service, ends: str
) -> None:
    for _ in range(5):
        session = await either_service.new_session()
        if ends == "log out":
            end = session.post("/api/v1/auth/logout")
        else:
            end = asyncio.to_thread(database.query, "select auth.set_disabled(%s, true)", session.email)
        replies = await together(*(session.use(1) for _ in range(5)), end, *(session.use(1) for _ in range(5)))
        late = await session.use(1)
        assert_problem(late, 401, "session_ended")
        spends = [reply for number, reply in enumerate(replies) if number != 5]
        assert {reply.status for reply in spends} <= {200, 401}
        [(spent,)] = database.query("select total_spent from credits.balances where user_id = %s", session.user_id)
        assert spent == sum(reply.status == 200 for reply in spends)
    database.assert_ledger_is_sound()


async def test_an_expired_refresh_token_is_refused(database: Database, session: Session) -> None:
    database.move_clock(timedelta(days=7, seconds=1))
    assert_problem(await session.service.refresh(session.refresh_token), 401, "invalid_refresh_token")


async def test_a_refresh_brings_the_new_role(database: Database, session: Session) -> None:
    database.query("select auth.set_role(%s, 'admin')", session.email)
    following = await refreshed(session)
    assert claims(following.access_token)["role"] == "admin"
    await assert_works(following)


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "garbage",
        lambda token: token.partition(".")[0],
        lambda token: token.partition(".")[0] + ".",
        lambda token: token.partition(".")[2],
        lambda token: f"{uuid4().hex}.{token.partition('.')[2]}",
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token + "=",
        lambda token: f" {token}",
        lambda token: token.upper(),
        lambda token: f"urn:uuid:{token}",
        lambda token: "é" * 100,
        lambda token: token + "x" * (8192 - len(token)),
    ],
    ids=[
        "garbage", "user only", "no secret", "no user", "unknown user", "changed byte", "padding", "space",
        "upper case", "another spelling of the user", "not ASCII", "8192 characters",
    ],
)  # fmt: skip
async def test_a_forged_refresh_token_is_refused(session: Session, forge: Callable[[str], str]) -> None:
    forged = forge(session.refresh_token)
    assert_problem(await session.service.refresh(forged), 401, "invalid_refresh_token")
    assert_problem(await log_out_by_refresh_token(session.service, forged), 401, "invalid_refresh_token")
    await assert_works(await refreshed(session))


async def test_a_token_under_another_user_s_id_is_refused(either_service: Service, session: Session) -> None:
    other = await either_service.new_session()
    mixed = f"{other.refresh_token.partition('.')[0]}.{session.refresh_token.partition('.')[2]}"
    assert_problem(await either_service.refresh(mixed), 401, "invalid_refresh_token")
    await assert_works(await refreshed(session))
    await assert_works(await refreshed(other))


@pytest.mark.parametrize("token", ["", "x" * 8193, "nul\0", None, 7])
async def test_a_malformed_refresh_token_is_a_bad_request(either_service: Service, token: object) -> None:
    reply = await either_service.post("/api/v1/auth/refresh", {"refreshToken": token})
    assert_problem(reply, 400, "invalid_request")
    assert [error["field"] for error in reply.body["errors"]] == ["refreshToken"]


# Logout


async def test_a_logout_by_bearer_ends_the_session_everywhere(database: Database, session: Session) -> None:
    await assert_works(session)
    reply = await session.post("/api/v1/auth/logout")
    assert (reply.status, reply.body) == (200, {"message": "Logged out successfully"})
    assert events(database, session.user_id)[-1] == "logged_out"
    await assert_ended(session)
    assert events(database, session.user_id)[-1] == "refresh_refused"


async def test_a_logout_by_refresh_token_ends_the_session_everywhere(session: Session) -> None:
    reply = await log_out_by_refresh_token(session.service, session.refresh_token)
    assert (reply.status, reply.body) == (200, {"message": "Logged out successfully"})
    await assert_ended(session)


async def test_a_logout_by_a_used_refresh_token_ends_the_session_everywhere(session: Session) -> None:
    following = await refreshed(session)
    assert (await log_out_by_refresh_token(session.service, session.refresh_token)).status == 200
    await assert_ended(following)


async def test_a_logout_by_refresh_token_can_be_repeated(session: Session) -> None:
    for _ in range(2):
        assert (await log_out_by_refresh_token(session.service, session.refresh_token)).status == 200


async def test_an_expired_access_token_logs_out_only_with_a_refresh_token(
    database: Database, either_gateway: Gateway, session: Session
) -> None:
    keys = KeyDirectory(either_gateway.data_dir / "keys").load
    expired = TokenIssuer(keys, "manacore", "manacore", -60).sign(claims(session.access_token))
    reply = await session.service.post("/api/v1/auth/logout", token=expired)
    assert_problem(reply, 401, "token_expired")
    assert not is_revoked(database, session)

    reply = await session.service.post("/api/v1/auth/logout", {"refreshToken": session.refresh_token}, token=expired)
    assert reply.status == 200
    await assert_ended(session)


async def test_a_logout_without_any_token_is_refused(either_service: Service) -> None:
    assert_problem(await either_service.post("/api/v1/auth/logout"), 401, "authentication_required")


async def test_a_logout_leaves_the_sessions_of_other_devices(either_service: Service, session: Session) -> None:
    phone = await either_service.session(session.email, deviceId="phone")
    tablet = await either_service.session(session.email, deviceId="tablet")
    await session.post("/api/v1/auth/logout")
    await log_out_by_refresh_token(either_service, phone.refresh_token)
    await assert_ended(session)
    await assert_ended(phone)
    await assert_works(await refreshed(tablet))


async def test_a_reuse_leaves_the_sessions_of_other_devices(
    database: Database, either_service: Service, session: Session
) -> None:
    phone = await either_service.session(session.email, deviceId="phone")
    await refreshed(session)
    database.move_clock(timedelta(seconds=11))
    await either_service.refresh(session.refresh_token)
    await assert_ended(session)
    await assert_works(await refreshed(phone))


# What ends a session from outside


def test_the_routes_that_need_a_session_are_all_here() -> None:
    others = {"register_user", "log_in", "refresh_session", "validate", "return_from_checkout", "receive_event"}
    assert len(BEARER_ROUTES) + len(others) == len(ROUTES)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("update auth.sessions set revoked_at = now() where user_id = %s", "session_ended"),
        ("update auth.sessions set expires_at = now() where user_id = %s", "session_ended"),
        ("update auth.users set deleted_at = now() where id = %s", "session_ended"),
        ("update auth.users set disabled_at = now() where id = %s", "account_disabled"),
        ("update auth.users set role = 'admin' where id = %s", "role_changed"),
    ],
    ids=["revoked", "expired", "deleted user", "disabled user", "changed role"],
)
async def test_an_access_token_is_refused_everywhere_after(
    database: Database, session: Session, statement: str, code: str
) -> None:
    before = await session.balance()
    assert (await validate(session))["valid"] is True
    database.query(statement, session.user_id)
    await assert_refused_everywhere(session, code)
    [(version,)] = database.query("select version from credits.balances where user_id = %s", session.user_id)
    assert version == before["version"]


@pytest.mark.parametrize(
    "statement",
    [
        "update auth.sessions set revoked_at = now() where user_id = %s",
        "update auth.refresh_tokens set expires_at = now() where user_id = %s",
        "update auth.users set deleted_at = now() where id = %s",
        "update auth.users set disabled_at = now() where id = %s",
    ],
    ids=["revoked", "expired", "deleted user", "disabled user"],
)
async def test_a_refresh_token_is_refused_after(database: Database, session: Session, statement: str) -> None:
    database.query(statement, session.user_id)
    assert_problem(await session.service.refresh(session.refresh_token), 401, "invalid_refresh_token")
    assert tokens(database, session) == (1, 1)


async def test_a_user_who_is_disabled_and_enabled_has_to_log_in_again(database: Database, session: Session) -> None:
    database.query("select auth.set_disabled(%s, true)", session.email)
    database.query("select auth.set_disabled(%s, false)", session.email)
    await assert_ended(session)
    await assert_works(await session.service.session(session.email))


async def test_a_login_sweeps_away_what_has_long_ended(database: Database, session: Session) -> None:
    database.move_clock(timedelta(days=38))
    again = await session.service.session(session.email)
    rows = database.query("select id::text from auth.sessions where user_id = %s", session.user_id)
    assert rows == [(session_id(again),)]
    assert_problem(await session.service.refresh(session.refresh_token), 401, "invalid_refresh_token")
