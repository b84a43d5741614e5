"""A signing key that somebody else has: nothing that it signed is accepted once it is revoked or at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jwt
import pytest

from gateway.tokens.keys import RELOADED_AFTER, KeyDirectory, ManifestEntry
from harness.clients import Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import Gateway
from harness.programs import mana
from harness.waiting import until

BALANCE = "/api/v1/credits/balance"
VALIDATE = "/api/v1/auth/validate"


class Keys:
    """The keys of a gateway, as `mana keys` changes them, and as a thief has read them."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.directory = KeyDirectory(data_dir / "keys")

    def run(self, *arguments: str) -> str:
        done = mana("keys", *arguments, environment={"DATA_DIR": str(self.data_dir)})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def listed(self) -> list[str]:
        return [entry.kid for entry in self.directory.entries()]

    @property
    def signing(self) -> str:
        return self.directory.load().signing_key()[0]

    def change(self, kid: str, **times: float | None) -> None:
        changed = [replace(entry, **times) if entry.kid == kid else entry for entry in self.directory.entries()]
        self.directory._write_manifest(changed)

    def forge(self, kid: str, session: Session, **claims: object) -> str:
        """What a thief of the key makes of the token of a user: the same claims, with an end of their choice."""
        pem = (self.data_dir / "keys" / f"{kid}.pem").read_text()
        true = jwt.decode(session.access_token, options={"verify_signature": False})
        forged = true | {"exp": int(time.time()) + 10**9} | claims
        return jwt.encode(forged, pem, algorithm="RS256", headers={"kid": kid, "typ": "at+jwt"})


@pytest.fixture(params=["1", "2"], ids=["one worker", "two workers"])
def running(request: pytest.FixtureRequest, database: Database) -> Iterator[Gateway]:
    with Gateway(database.gateway_url, {"WORKERS": request.param}) as gateway:
        yield gateway


MEET_ALL = 24  # connections, after which a worker that none of them met is a thing of one in millions


async def is_refused(service: Service, token: str) -> bool:
    """Whether every worker refuses it: each request has a connection of its own, so it meets any of them."""
    for _ in range(MEET_ALL):
        if (await service.get(BALANCE, token=token, headers={"Connection": "close"})).status != 401:
            return False
    return True


async def test_what_a_revoked_key_signed_is_refused_by_a_running_gateway(running: Gateway) -> None:
    keys = Keys(running.data_dir)
    leaked = keys.signing
    second = keys.run("rotate", "--lead", "5")
    async with Service(running.url) as service:
        session = await service.new_session()
        forged = keys.forge(leaked, session)
        await until(lambda: _is_accepted(service, forged))
        for _ in range(MEET_ALL):  # every worker remembers it
            await service.get(BALANCE, token=forged, headers={"Connection": "close"})

        assert keys.run("revoke", leaked) == ""
        revoked_at = time.monotonic()
        await until(lambda: is_refused(service, forged))
        assert time.monotonic() - revoked_at < 3 * RELOADED_AFTER
        assert_problem(await service.get(BALANCE, token=forged), 401, "invalid_token")
        assert (await service.post(VALIDATE, {"token": forged})).body == {"valid": False, "error": "invalid_token"}
        assert_problem(await session.get(BALANCE), 401, "invalid_token")

        refreshed = await service.refresh(session.refresh_token)
        assert jwt.get_unverified_header(refreshed.body["accessToken"])["kid"] == second
        assert (await service.get(BALANCE, token=refreshed.body["accessToken"])).status == 200
        published = await service.get("/.well-known/jwks.json")
        assert [key["kid"] for key in published.body["keys"]] == [second]
    assert [path.stem for path in (running.data_dir / "keys").glob("*.pem")] == [second]


async def _is_accepted(service: Service, token: str) -> bool:
    return (await service.get(BALANCE, token=token)).status == 200


async def test_a_remembered_token_is_refused_at_the_end_of_its_key(database: Database) -> None:
    with Gateway(database.gateway_url) as gateway:
        keys = Keys(gateway.data_dir)
        leaked = keys.signing
        keys.run("rotate", "--lead", "5")
        async with Service(gateway.url) as service:
            session = await service.new_session()
            keys.change(leaked, verifies_until=time.time() + 3 * RELOADED_AFTER)
            await until(lambda: _reloads(gateway) == 1)
            forged = keys.forge(leaked, session)
            assert await _is_accepted(service, forged)
            await until(lambda: is_refused(service, forged))
            assert _reloads(gateway) == 1, "the keys were read again, which forgets every token"


def _reloads(gateway: Gateway) -> int:
    return sum("signing_keys_reloaded" in line for line in gateway.output)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.run("generate")
    return made


def test_when_the_only_key_is_revoked_a_new_one_signs_at_once(keys: Keys) -> None:
    leaked = keys.signing
    new = keys.run("revoke", leaked)
    assert keys.listed == [new]
    assert keys.signing == new
    assert new != leaked


def test_when_the_signing_key_is_revoked_the_one_that_waits_signs_at_once(keys: Keys) -> None:
    leaked = keys.signing
    waiting = keys.run("rotate", "--lead", "600")
    assert keys.signing == leaked
    assert keys.run("revoke", leaked) == ""
    assert keys.listed == [waiting]
    assert keys.signing == waiting


def test_when_the_waiting_key_is_revoked_a_new_one_takes_its_place(keys: Keys) -> None:
    """The key before it ends when the revoked one should have taken over, so another one has to."""
    first = keys.signing
    leaked = keys.run("rotate", "--lead", "600")
    before = {entry.kid: entry for entry in keys.directory.entries()}
    new = keys.run("revoke", leaked)
    after: dict[str, ManifestEntry] = {entry.kid: entry for entry in keys.directory.entries()}
    assert list(after) == [first, new]
    assert after[first] == before[first]
    assert after[new].signs_from == before[leaked].signs_from
    assert keys.signing == first


def test_when_a_retired_key_is_revoked_the_others_go_on(keys: Keys) -> None:
    retired = keys.signing
    current = keys.run("rotate", "--lead", "5")
    keys.change(current, signs_from=time.time() - 1)
    before = keys.directory.entries()[1]
    assert keys.run("revoke", retired) == ""
    assert keys.directory.entries() == [before]


@pytest.mark.parametrize("kid", ["unknown", "-unknown", "-huh", "--unknown"])
def test_a_key_that_is_not_there_cannot_be_revoked(keys: Keys, kid: str) -> None:
    """What is there may begin with a dash, so an option is only what is known as one."""
    before = keys.directory.entries()
    done = mana("keys", "revoke", kid, environment={"DATA_DIR": str(keys.data_dir)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [f"error: there is no key {kid}", "hint:  run: mana keys list"]
    assert keys.directory.entries() == before
