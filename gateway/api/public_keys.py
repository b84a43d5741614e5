"""The public keys that verify access tokens (RFC 7517)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from gateway.api.fields import Answer

PATH = "/.well-known/jwks.json"
OLDER_PATHS = ("/api/v1/auth/jwks", "/api/auth/jwks")  # where older backends look for them


class PublicKey(Answer, frozen=True):
    kty: Literal["RSA"]
    use: Literal["sig"]
    alg: Literal["RS256"]
    kid: str
    n: str
    e: str


class KeySet(Answer, frozen=True):
    keys: list[PublicKey]

    example: ClassVar[Mapping[str, Any]] = {
        "keys": [
            {
                "kty": "RSA",
                "use": "sig",
                "alg": "RS256",
                "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
                "n": "0vx7agoebGcQSuuPiLJXZpt",
                "e": "AQAB",
            }
        ]
    }
