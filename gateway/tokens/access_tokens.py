"""Access tokens: JWTs signed with RS256 (RFC 7519, RFC 9068), good for minutes.

A valid signature proves who the user was when the token was signed. The database checks at every
call that it still holds.
"""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec

from gateway.problems import Problem
from gateway.tokens.keys import KeyRing

ALGORITHM = "RS256"
TYPE = "at+jwt"
LEEWAY = 30  # seconds that the clocks of two gateways may differ
MAX_LENGTH = 8192
REMEMBERED = 4096  # verified tokens
_FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # base64url without padding (RFC 7515, section 2)
_REQUIRED = ["sub", "sessionId", "role", "iss", "aud", "iat", "exp", "jti"]


class _Utf8Encoder(json.JSONEncoder):
    """Escapes would make the longest name longer than a token may be."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"ensure_ascii": False}))


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a token: their id, and the claims as the JSON text that was signed."""

    user_id: str
    claims: str


class TokenIssuer:
    """Signs and checks access tokens; ``ttl`` in seconds."""

    def __init__(self, keys: Callable[[], KeyRing], issuer: str, audience: str, ttl: int) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self.ttl = ttl
        self._verified: dict[str, tuple[float, Caller]] = {}
        self._verified_with: KeyRing | None = None

    def sign(self, claims: dict[str, object]) -> str:
        """A token with these claims and the registered ones."""
        kid, key = self._keys().signing_key()
        now = int(time.time())
        registered = {
            "iss": self._issuer,
            "aud": self._audience,
            "client_id": self._audience,  # our apps are one client: no app proves which of them it is
            "iat": now,
            "exp": now + self.ttl,
            "jti": str(uuid.uuid4()),
        }
        headers = {"kid": kid, "typ": TYPE}
        return jwt.encode(claims | registered, key, algorithm=ALGORITHM, headers=headers, json_encoder=_Utf8Encoder)

    def verify(self, token: str) -> Caller:
        """The caller that the token names. Raises Problem invalid_token or token_expired.

        A verified token is cached until it expires, its key ends or the keys change: until then, the same bytes
        and keys have the same outcome.
        """
        keys = self._keys()
        if keys is not self._verified_with:
            self._verified.clear()
            self._verified_with = keys
        expires, caller = self._verified.get(token, _UNKNOWN)
        if time.time() >= expires:
            expires, caller = self._verify(token, keys)
            if len(self._verified) >= REMEMBERED:
                del self._verified[next(iter(self._verified))]
            self._verified[token] = expires, caller
        return caller

    def _verify(self, token: str, keys: KeyRing) -> tuple[float, Caller]:
        try:
            if len(token) > MAX_LENGTH or not _FORM.fullmatch(token):
                raise jwt.InvalidTokenError("too long, or no token")
            header = jwt.get_unverified_header(token)
            kid = str(header.get("kid", ""))
            key = keys.public_key(kid)
            # One algorithm and one type, whatever a token claims about itself (RFC 8725, sections 3.1
            # and 3.11).
            if key is None or header.get("alg") != ALGORITHM or header.get("typ") != TYPE:
                raise jwt.InvalidTokenError("unknown make")
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
            # PyJWT accepts texts as numbers. We never sign any.
            if type(claims["exp"]) is not int or type(claims["iat"]) is not int:
                raise jwt.InvalidTokenError("no times")
            if str(uuid.UUID(claims["sessionId"])) != claims["sessionId"]:
                raise jwt.InvalidTokenError("no session")
            ends = min(float(claims["exp"] + LEEWAY), keys.verifies_until(kid))
            return ends, Caller(str(uuid.UUID(claims["sub"])), _payload(token))
        except jwt.ExpiredSignatureError as error:
            raise Problem("token_expired", "Token expired. Refresh it.") from error
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise Problem("invalid_token", "Invalid token.") from error


_UNKNOWN = (0.0, Caller("", ""))


def _payload(token: str) -> str:
    segment = token.split(".")[1]
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)).decode()


def access_token_body(body: bytes, issuer: TokenIssuer) -> bytes:
    """The body of a login or refresh, with its claims turned into an access token."""
    answer: dict[str, object] = msgspec.json.decode(body)
    claims = answer.pop("claims")
    assert isinstance(claims, dict)  # noqa: S101 - api.session makes it
    answer |= {"accessToken": issuer.sign(claims), "expiresIn": issuer.ttl, "tokenType": "Bearer"}
    return msgspec.json.encode(answer)
