"""Access tokens: how long one lasts, how large it may be, and what is remembered of those that were verified."""

from __future__ import annotations

import json
import math
import time
import uuid
from datetime import datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from gateway.problems import Problem
from gateway.tokens import access_tokens
from gateway.tokens.access_tokens import TokenIssuer

KEY, OTHER_KEY = (generate_private_key(65537, 2048) for _ in range(2))


class Keys:
    """A key ring of one key, which has an end if a test gives it one."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key
        self.end = math.inf

    def signing_key(self) -> tuple[str, RSAPrivateKey]:
        return "k", self._key

    def public_key(self, kid: str) -> Any:
        return self._key.public_key() if kid == "k" and access_tokens.time.time() < self.end else None

    def verifies_until(self, kid: str) -> float:
        assert kid == "k"
        return self.end


class World:
    """An issuer whose clock and whose keys are a test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(int(time.time()))
        self.key = KEY
        self.keys = Keys(self.key)
        self.issuer = TokenIssuer(lambda: self.keys, "here", "there", 900)  # type: ignore[arg-type, return-value]
        self.verified: list[str] = []
        decode = jwt.decode

        def counted(token: str, *arguments: Any, **options: Any) -> Any:
            self.verified.append(token)
            return decode(token, *arguments, **options)

        monkeypatch.setattr(access_tokens.time, "time", lambda: self.now)
        clock = type("Clock", (datetime,), {"now": lambda tz: datetime.fromtimestamp(self.now, tz)})
        monkeypatch.setattr("jwt.api_jwt.datetime", clock)
        monkeypatch.setattr(access_tokens.jwt, "decode", counted)

    def token(self, **claims: Any) -> str:
        return self.issuer.sign({"sub": str(uuid.uuid4()), "sessionId": str(uuid.uuid4()), "role": "user", **claims})

    def refusal(self, token: str) -> str | None:
        try:
            self.issuer.verify(token)
        except Problem as problem:
            return problem.code
        return None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.mark.parametrize("remembered", [False, True], ids=["not seen before", "remembered"])
def test_a_token_lasts_for_its_time_and_half_a_minute(world: World, remembered: bool) -> None:
    token = world.token()
    if remembered:
        assert world.refusal(token) is None
    world.now += 900 + 29.999
    assert world.refusal(token) is None
    world.now += 0.001
    assert world.refusal(token) == "token_expired"


def test_the_clock_of_who_signed_may_be_half_a_minute_ahead(world: World) -> None:
    token = world.token()
    world.now -= 30.001
    assert world.refusal(token) == "invalid_token"
    world.now += 0.001
    assert world.refusal(token) is None


@pytest.mark.parametrize(("length", "refusal"), [(8192, None), (8193, "invalid_token")])
def test_a_token_has_8192_characters_at_most(world: World, length: int, refusal: str | None) -> None:
    claims = jwt.decode(world.token(), options={"verify_signature": False})
    sizes = ((claims_size, header_size) for claims_size in range(5400, 5700) for header_size in range(3))
    for claims_size, header_size in sizes:
        header = {"kid": "k", "typ": access_tokens.TYPE, "x": "x" * header_size}
        longer = claims | {"x": "x" * claims_size}
        if _length(header | {"alg": "RS256"}) + _length(longer) + 342 + 2 == length:
            token = jwt.encode(longer, world.key, algorithm="RS256", headers=header)
            assert (len(token), world.refusal(token)) == (length, refusal)
            return
    pytest.fail("no token has that length")


def _length(part: dict[str, Any]) -> int:
    return math.ceil(len(json.dumps(part, separators=(",", ":"))) * 4 / 3)


@pytest.mark.parametrize("form", ["{{{}}}", "urn:uuid:{}"])
def test_a_session_is_named_as_we_name_it(world: World, form: str) -> None:
    assert world.refusal(world.token(sessionId=form.format(uuid.uuid4()))) == "invalid_token"


def test_what_was_verified_is_remembered(world: World) -> None:
    token = world.token()
    callers = {world.issuer.verify(token) for _ in range(3)}
    assert len(callers) == 1
    assert world.verified == [token]


@pytest.mark.parametrize("remembered", [False, True], ids=["not seen before", "remembered"])
def test_a_token_ends_with_its_key(world: World, remembered: bool) -> None:
    world.keys.end = world.now + 60
    token = world.token(exp=int(world.now) + 10**9)  # a thief of the key chooses the token's end
    if remembered:
        assert world.refusal(token) is None
    world.now += 59.999
    assert world.refusal(token) is None
    world.now += 0.001
    assert world.refusal(token) == "invalid_token"


def test_the_oldest_is_forgotten_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_tokens, "REMEMBERED", 2)
    first, second, third = world.token(), world.token(), world.token()
    for token in (first, second, first, third, second, third):
        assert world.refusal(token) is None
    assert world.verified == [first, second, third]
    assert world.refusal(first) is None
    assert world.verified == [first, second, third, first]


def test_other_keys_forget_everything(world: World) -> None:
    token = world.token()
    assert world.refusal(token) is None
    world.keys = Keys(OTHER_KEY)
    assert world.refusal(token) == "invalid_token"
    world.keys = Keys(world.key)
    assert world.refusal(token) is None
