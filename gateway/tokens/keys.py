"""RSA keys that sign access tokens: made, rotated and published (RFC 7517, RFC 7638).

Several keys are good at once. A new key is published first and signs only after every cache of
the published set has seen it; the key before it verifies until the last token it signed has
expired. So a rotation fails no request.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)

from gateway import private_files
from gateway.problems import OperatorError

MINIMUM_BITS = 2048
MAXIMUM_BITS = 16384  # making such a key takes a minute or more, and OpenSSL verifies with no larger one
PUBLISHED_FOR = 300  # seconds that a client may cache the published set
RELOADED_AFTER = 2.0  # seconds after which a gateway has seen a rotation at the latest
MANIFEST = "keys.json"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One key's times, seconds since 1970. ``verifies_until`` None: no end in sight."""

    kid: str
    created_at: float
    signs_from: float
    verifies_until: float | None = None


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    public: RSAPublicKey
    private: RSAPrivateKey | None
    signs_from: float
    verifies_until: float | None

    def verifies(self, now: float) -> bool:
        return self.verifies_until is None or now < self.verifies_until


class KeyRing:
    """The keys that are good at one time, given in the order in which they were made."""

    def __init__(self, keys: Iterable[_Key]) -> None:
        self._keys = {key.kid: key for key in keys}

    def signing_key(self) -> tuple[str, RSAPrivateKey]:
        """The kid and the key that signs now: of those whose time has come, the newest.

        The newest is the one made last. A rotation in a hurry gives a key an earlier time than one that
        waits already has: that one is retired, and must not sign when its time comes.
        """
        now = time.time()
        ours = [key for key in self._keys.values() if key.private]
        ready = [key for key in ours if key.signs_from <= now]
        # No key's time has come when the clock went back: the oldest is known to most.
        newest = ready[-1] if ready else ours[0]
        assert newest.private  # noqa: S101 - for the type checker: `ready` has only such keys
        return newest.kid, newest.private

    def public_key(self, kid: str) -> RSAPublicKey | None:
        """The key that verifies tokens of this kid; None if it is unknown or has expired."""
        key = self._keys.get(kid)
        return key.public if key and key.verifies(time.time()) else None

    def verifies_until(self, kid: str) -> float:
        """When the key of this kid ends, in seconds since 1970; never is infinite."""
        end = self._keys[kid].verifies_until
        return math.inf if end is None else end

    def jwks(self) -> dict[str, object]:
        """All keys that verify now or will, as a JSON Web Key Set."""
        now = time.time()
        return {"keys": [_jwk(key.kid, key.public) for key in self._keys.values() if key.verifies(now)]}


class KeyDirectory:
    """Keys in a directory: one private PEM a key, named after its kid, and a manifest of times."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def version(self) -> int:
        """Changes whenever the keys do; 0 without keys."""
        try:
            return (self.directory / MANIFEST).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def load(self) -> KeyRing:
        """Read all keys. Raises OperatorError if there is no key or one cannot be read."""
        entries = self.entries()
        if not entries:
            raise OperatorError(f"there are no signing keys in {self.directory}", hint="run: mana keys generate")
        keys = []
        for entry in entries:
            private = _read_private((self.directory / f"{entry.kid}.pem").read_bytes())
            keys.append(_Key(entry.kid, private.public_key(), private, entry.signs_from, entry.verifies_until))
        return KeyRing(keys)

    def entries(self) -> list[ManifestEntry]:
        """The manifest, oldest key first."""
        if not self.version:
            return []
        listed = json.loads((self.directory / MANIFEST).read_text())
        return [ManifestEntry(**entry) for entry in listed]

    def generate(self, bits: int = MINIMUM_BITS) -> str:
        """Make the first key, which signs at once, and return its kid.

        Raises OperatorError when there are keys already.
        """
        with self._changing():
            if self.entries():
                raise OperatorError("there are signing keys already", hint="run: mana keys rotate")
            return self._write_first(bits)

    def generate_first(self) -> bool:
        """Make a key unless there is one; returns whether it did."""
        with self._changing():
            if self.entries():
                return False
            self._write_first(MINIMUM_BITS)
            return True

    def rotate(self, bits: int, lead: float, token_ttl: float) -> ManifestEntry:
        """Publish a new key that signs ``lead`` seconds from now.

        The keys before it verify for ``token_ttl`` seconds more after that, plus a minute for
        clocks that differ. Keys whose time is over are deleted.
        """
        with self._changing():
            entries = self.entries()
            if not entries:
                raise OperatorError("there are no signing keys to rotate", hint="run: mana keys generate")
            now = time.time()
            kept: list[ManifestEntry] = []
            expired: list[ManifestEntry] = []
            for entry in entries:
                over = entry.verifies_until is not None and entry.verifies_until <= now
                (expired if over else kept).append(entry)

            new = ManifestEntry(self._create(bits), now, now + lead)
            last = new.signs_from + token_ttl + 60
            retired = [ManifestEntry(e.kid, e.created_at, e.signs_from, e.verifies_until or last) for e in kept]
            self._write_manifest([*retired, new])
            for entry in expired:
                (self.directory / f"{entry.kid}.pem").unlink(missing_ok=True)
            return new

    def revoke(self, kid: str, bits: int) -> str | None:
        """Remove a key at once: nothing that it signed verifies any longer, and its file is deleted.

        If no key would be left to sign, the one that waits does so at once; without one, a new key is made
        and its kid returned. Raises OperatorError when there is no key ``kid``.
        """
        with self._changing():
            entries = self.entries()
            revoked = next((entry for entry in entries if entry.kid == kid), None)
            if revoked is None:
                raise OperatorError(f"there is no key {kid}", hint="run: mana keys list")
            kept = [entry for entry in entries if entry is not revoked]
            now = time.time()
            made = None
            if all(entry.verifies_until is not None for entry in kept):
                made = self._create(bits)
                kept.append(ManifestEntry(made, now, max(now, revoked.signs_from)))
            elif not any(entry.signs_from <= now for entry in kept):
                kept[-1] = replace(kept[-1], signs_from=now)
            self._write_manifest(kept)
            (self.directory / f"{kid}.pem").unlink(missing_ok=True)
            return made

    def describe(self) -> list[str]:
        """One line a key: its kid and its current use."""
        now = time.time()
        entries = self.entries()
        signing = next((entry for entry in reversed(entries) if entry.signs_from <= now), None)
        return [f"{entry.kid}  {_state(entry, signing, now)}" for entry in entries]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes the keys meanwhile, in this process or another."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write_first(self, bits: int) -> str:
        now = time.time()
        kid = self._create(bits)
        self._write_manifest([ManifestEntry(kid, now, now)])
        return kid

    def _create(self, bits: int) -> str:
        if bits < MINIMUM_BITS:
            raise OperatorError(f"a key needs at least {MINIMUM_BITS} bits (RFC 7518, section 3.3)")
        if bits > MAXIMUM_BITS:
            raise OperatorError(f"a key has at most {MAXIMUM_BITS} bits")
        private = generate_private_key(public_exponent=65537, key_size=bits)
        kid = thumbprint(private.public_key())
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        private_files.create(self.directory / f"{kid}.pem", pem.decode())
        return kid

    def _write_manifest(self, entries: list[ManifestEntry]) -> None:
        text = json.dumps([asdict(entry) for entry in entries], indent=2)
        private_files.replace(self.directory / MANIFEST, text)


def from_pem(private_pem: str, public_pems: str) -> KeyRing:
    """A key ring from keys in the environment.

    The private key signs; ``public_pems`` may hold several keys, old and new, that verify too.
    """
    private = _read_private(private_pem.encode())
    keys = [_Key(thumbprint(private.public_key()), private.public_key(), private, 0.0, None)]
    for block in public_pems.split("-----BEGIN ")[1:]:
        public = _read_public(f"-----BEGIN {block}".encode())
        keys.append(_Key(thumbprint(public), public, None, 0.0, None))
    return KeyRing(reversed(keys))


def _state(entry: ManifestEntry, signing: ManifestEntry | None, now: float) -> str:
    if entry.verifies_until is not None and entry.verifies_until <= now:
        return "expired"
    if entry == signing:
        return "signs"
    if entry.signs_from > now:
        return f"is published, signs in {entry.signs_from - now:.0f} seconds"
    return f"verifies for {(entry.verifies_until or now) - now:.0f} seconds more"


def thumbprint(key: RSAPublicKey) -> str:
    """The key's id: SHA-256 over its required members in order (RFC 7638)."""
    numbers = key.public_numbers()
    members = {"e": _base64url(numbers.e), "kty": "RSA", "n": _base64url(numbers.n)}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _jwk(kid: str, key: RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
        "n": _base64url(numbers.n),
        "e": _base64url(numbers.e),
    }


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _read_private(pem: bytes) -> RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise OperatorError("the signing key is not a readable private key in PEM form") from error
    if not isinstance(key, RSAPrivateKey) or key.key_size < MINIMUM_BITS:
        raise OperatorError(f"the signing key must be an RSA key of at least {MINIMUM_BITS} bits")
    return key


def _read_public(pem: bytes) -> RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise OperatorError("JWT_PUBLIC_KEY holds a key that is not readable") from error
    if not isinstance(key, RSAPublicKey) or key.key_size < MINIMUM_BITS:
        raise OperatorError(f"JWT_PUBLIC_KEY must hold RSA keys of at least {MINIMUM_BITS} bits")
    return key
