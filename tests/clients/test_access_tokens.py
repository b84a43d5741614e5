"""Validators of RFC 9068 accept an access token of ours, and none that lacks what the RFC asks for."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import jwt
import pytest

from clients.tools import BUILT, HERE, PYTHON, maven, run
from gateway.tokens.access_tokens import ALGORITHM, TYPE
from gateway.tokens.keys import KeyDirectory
from harness.clients import Service
from harness.gateways import Gateway

ISSUER = AUDIENCE = "manacore"


def _authlib(*arguments: str) -> str:
    return run(PYTHON, HERE / "python" / "accept_tokens.py", *arguments)


def _oauth4webapi(*arguments: str) -> str:
    # Node.js looks for packages beside the program.
    return run("node", shutil.copy(HERE / "typescript" / "accept_tokens.mjs", BUILT), *arguments)


def _spring(*arguments: str) -> str:
    return maven("spring", *arguments)


# Each with the claims whose absence it does not mind.
@pytest.mark.parametrize(("validator", "unminded"), [(_authlib, set()), (_oauth4webapi, set()), (_spring, {"iat"})])
async def test_a_token_of_ours_is_accepted_and_a_lesser_one_is_not(
    gateway: Gateway, validator: Callable[..., str], unminded: set[str]
) -> None:
    async with Service(gateway.url) as service:
        session = await service.new_session()
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    kid, key = KeyDirectory(gateway.data_dir / "keys").load().signing_key()

    def signed(claims: dict[str, object], kind: str = TYPE) -> str:
        return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid, "typ": kind})

    required = ("client_id", "sub", "iat", "exp", "jti", "iss", "aud")
    lesser = {missing: signed({name: claims[name] for name in claims if name != missing}) for missing in required}
    lesser["typ"] = signed(claims, "JWT")
    keys = f"{gateway.url}/.well-known/jwks.json"
    accepted, *refused = validator(keys, ISSUER, AUDIENCE, session.access_token, *lesser.values()).splitlines()
    assert accepted == session.user_id
    taken = {name for name, line in zip(lesser, refused, strict=True) if not line.startswith("refused: ")}
    assert taken == unminded
