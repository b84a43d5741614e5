"""Access tokens: what a good one says, which forgeries are refused, and keys that change without a failed request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import stat
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from gateway.api.route import Access
from gateway.api.table import ROUTES
from gateway.tokens.keys import KeyDirectory
from harness.clients import Reply, Service, Session, assert_problem
from harness.databases import Database
from harness.gateways import Gateway
from harness.programs import mana
from harness.waiting import together

VALIDATE = "/api/v1/auth/validate"
BEARER_ROUTES = [route for route in ROUTES if route.access in {Access.BEARER, Access.BEARER_OR_REFRESH_TOKEN}]
CLAIMS = {"sub", "email", "role", "sessionId", "sid", "deviceId", "iss", "aud", "client_id", "iat", "exp", "jti"}
FOR_OTHERS = {"email", "deviceId", "sid", "client_id"}  # claims that decide nothing here


@pytest.fixture(scope="module")
async def session(gateway: Gateway) -> AsyncIterator[Session]:
    async with Service(gateway.url) as client:
        yield await client.new_session(deviceId="phone-1")


@pytest.fixture(scope="module")
async def stranger(gateway: Gateway, session: Session) -> Session:
    """Another user of the same gateway."""
    return await session.service.new_session()


def base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def segment(part: dict[str, Any]) -> bytes:
    return base64url(json.dumps(part).encode())


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def private_keys(data_dir: Path) -> dict[str, RSAPrivateKey]:
    """The keys of a gateway, read without its code."""
    keys = {}
    for path in (data_dir / "keys").glob("*.pem"):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        keys[path.stem] = key
    return keys


def public_pem(key: RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638, written down a second time."""
    canonical = f'{{"e":"{jwk["e"]}","kty":"{jwk["kty"]}","n":"{jwk["n"]}"}}'
    return base64url(hashlib.sha256(canonical.encode()).digest()).decode()


# ---------------------------------------------------------------- a good token


async def test_a_token_has_the_claims_of_the_contract_and_no_others(session: Session, stranger: Session) -> None:
    assert set(claims_of(session.access_token)) == CLAIMS
    assert set(claims_of(stranger.access_token)) == CLAIMS - {"deviceId"}


async def test_a_token_says_who_and_for_how_long(session: Session) -> None:
    claims = claims_of(session.access_token)
    assert claims["sub"] == session.user_id
    assert (claims["email"], claims["role"], claims["deviceId"]) == (session.email, "user", "phone-1")
    assert (claims["iss"], claims["aud"]) == ("manacore", "manacore")
    assert claims["exp"] - claims["iat"] == 900
    assert abs(claims["iat"] - time.time()) < 300
    assert uuid.UUID(claims["sessionId"]).version == 7
    assert uuid.UUID(claims["jti"])


async def test_every_token_has_a_jti_of_its_own(session: Session) -> None:
    again = await session.service.session(session.email)
    assert claims_of(again.access_token)["jti"] != claims_of(session.access_token)["jti"]


async def test_the_header_names_algorithm_type_and_key_and_nothing_else(gateway: Gateway, session: Session) -> None:
    (kid,) = private_keys(gateway.data_dir)
    header = jwt.get_unverified_header(session.access_token)
    assert header == {"alg": "RS256", "typ": "at+jwt", "kid": kid}


async def test_the_kid_is_the_thumbprint_of_the_key(session: Session) -> None:
    published = (await session.service.get("/.well-known/jwks.json")).body["keys"]
    assert [key["kid"] for key in published] == [thumbprint(key) for key in published]


async def test_the_published_set_verifies_a_token_and_holds_no_secret(session: Session) -> None:
    reply = await session.service.get("/.well-known/jwks.json")
    assert "max-age" in reply.headers["Cache-Control"]
    (published,) = reply.body["keys"]
    assert set(published) == {"kty", "use", "alg", "kid", "n", "e"}
    keys = jwt.PyJWKSet.from_dict(reply.body)
    key = keys[jwt.get_unverified_header(session.access_token)["kid"]]
    claims = jwt.decode(session.access_token, key, algorithms=["RS256"], audience="manacore", issuer="manacore")
    assert claims["sub"] == session.user_id


async def test_validate_shows_the_claims_of_a_good_token(session: Session) -> None:
    reply = await session.service.post(VALIDATE, {"token": session.access_token})
    assert (reply.status, reply.body) == (200, {"valid": True, "payload": claims_of(session.access_token)})


# ---------------------------------------------------------------- forgeries


class Forger:
    """A thief with the gateway's own key, a key of their own, a server that has it, and somebody's tokens."""

    def __init__(self, gateway: Gateway, session: Session, stranger: Session) -> None:
        ((self.kid, self.key),) = private_keys(gateway.data_dir).items()
        self.own_key = generate_private_key(65537, 2048)
        self.own_certificate = self_signed(self.own_key)
        self.server = ""
        self.asked: list[str] = []  # what the server was
        self.session = session
        self.stranger = stranger
        self.header = {"alg": "RS256", "typ": "at+jwt", "kid": self.kid}
        self.claims = claims_of(session.access_token)

    def sign(
        self, *, without: str | None = None, header: dict[str, Any] | None = None, key: Any = None, **claims: Any
    ) -> str:
        """A token of the gateway's own make, but for what is said here. Header None drops a member."""
        payload = {name: value for name, value in {**self.claims, **claims}.items() if name != without}
        members = {**self.header, **(header or {})}
        members = {name: value for name, value in members.items() if value is not None}
        signed = jwt.encode(payload, key or self.key, algorithm=members.pop("alg"), headers=members)
        if "kid" not in members:
            assert "kid" not in jwt.get_unverified_header(signed)
        return signed

    def assemble(self, header: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
        """A token that PyJWT would not make."""
        signed = segment({"typ": "at+jwt", "kid": self.kid, **header}) + b"." + segment(self.claims)
        return (signed + b"." + base64url(sign(signed))).decode()

    def seal(self, signed: bytes) -> bytes:
        """The right key's signature."""
        return self.key.sign(signed, PKCS1v15(), SHA256())

    def sealed(self, header: bytes, claims: bytes) -> str:
        """These very segments, signed with the right key."""
        signed = header + b"." + claims
        return (signed + b"." + base64url(self.seal(signed))).decode()

    def hmac(self, secret: bytes, bits: int = 256) -> str:
        return self.assemble({"alg": f"HS{bits}"}, lambda signed: hmac.digest(secret, signed, f"sha{bits}"))

    def rs256(self, **header: Any) -> str:
        """Signed with the right key, under a header that PyJWT would not write."""
        return self.assemble({"alg": "RS256", **header}, self.seal)

    def es256(self) -> str:
        own = ec.generate_private_key(ec.SECP256R1())
        return self.assemble({"alg": "ES256"}, lambda signed: own.sign(signed, ec.ECDSA(SHA256())))

    def written(self, name: str, value: str) -> str:
        """The claims with this one as this JSON text, signed by the right key."""
        return raw(self, json.dumps({**self.claims, name: "@"}).replace('"@"', value).encode())

    def spaced(self, at: int) -> str:
        """The good token with a space after its header or claims: it says the same in other bytes."""
        parts = self.session.access_token.split(".")
        parts[at] = base64url(base64.urlsafe_b64decode(parts[at] + "==") + b" ").decode()
        return ".".join(parts)

    def changed(self, at: int) -> str:
        """The good token with another character in one place of its signature."""
        signed, _, signature = self.session.access_token.rpartition(".")
        other = "A" if signature[at] != "A" else "B"
        return f"{signed}.{signature[:at]}{other}{signature[at + 1 :]}"

    def padded(self) -> str:
        """With claims that padding belongs behind, where it is base64 but for tokens."""
        claims = json.dumps(self.claims).encode()
        return self.sealed(segment(self.header), base64.urlsafe_b64encode(claims + b" " * ((1 - len(claims)) % 3)))

    def in_the_other_base64(self) -> str:
        """With the right signature, written with + and / where base64url has - and _."""
        signed = (self.sign(jti=str(uuid.uuid4())).rpartition(".") for _ in count())
        start, _, signature = next(parts for parts in signed if re.search("[-_]", parts[2]))
        return f"{start}.{signature.replace('-', '+').replace('_', '/')}"

    def own_jwk(self) -> dict[str, Any]:
        jwk: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self.own_key.public_key(), as_dict=True)
        return jwk


def self_signed(key: RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a thief")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    return made.sign(key, SHA256())


def modulus(key: RSAPublicKey) -> bytes:
    return key.public_numbers().n.to_bytes(key.key_size // 8, "big")


def alike(token: str) -> str:
    """Another last character for the same bytes: its lowest bits are not used."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


NOW = time.time()
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PKCS1 = serialization.PublicFormat.PKCS1
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER

# What a verifier might take for the secret of an HMAC when it holds the public key.
PUBLIC: dict[str, Callable[[RSAPublicKey], bytes]] = {
    "PEM": lambda key: key.public_bytes(PEM, SPKI),
    "PEM, no line end": lambda key: key.public_bytes(PEM, SPKI).strip(),
    "PEM, CRLF": lambda key: key.public_bytes(PEM, SPKI).replace(b"\n", b"\r\n"),
    "PEM on one line": lambda key: key.public_bytes(PEM, SPKI).replace(b"\n", b"\\n"),
    "DER": lambda key: key.public_bytes(DER, SPKI),
    "DER in base64": lambda key: base64.b64encode(key.public_bytes(DER, SPKI)),
    "PKCS 1 PEM": lambda key: key.public_bytes(PEM, PKCS1),
    "PKCS 1 PEM, no line end": lambda key: key.public_bytes(PEM, PKCS1).strip(),
    "PKCS 1 DER": lambda key: key.public_bytes(DER, PKCS1),
    "JWK": lambda key: json.dumps(jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)).encode(),
    "JWK, no spaces": lambda key: json.dumps(
        jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True), separators=(",", ":")
    ).encode(),
    "modulus": modulus,
    "modulus in base64url": lambda key: base64url(modulus(key)),
    "modulus in hex": lambda key: modulus(key).hex().encode(),
}

NONE = ("none", "None", "nOnE", "none ")

FORGERIES: dict[str, Callable[[Forger], str]] = {
    **{f"alg '{alg}'": lambda f, alg=alg: f.assemble({"alg": alg}, lambda _: b"") for alg in NONE},
    **{f"alg '{alg}' with a signature": lambda f, alg=alg: f.rs256(alg=alg) for alg in NONE},
    "alg empty": lambda f: f.rs256(alg=""),
    "alg in small letters": lambda f: f.rs256(alg="rs256"),
    "no alg": lambda f: f.assemble({}, f.seal),
    "alg null": lambda f: f.rs256(alg=None),
    "alg a list": lambda f: f.rs256(alg=["RS256"]),
    "no signature": lambda f: f.session.access_token.rpartition(".")[0] + ".",
    "two segments": lambda f: f.session.access_token.rpartition(".")[0],
    "one segment": lambda f: f.session.access_token.partition(".")[0],
    "four segments": lambda f: f.session.access_token + ".x",
    "five segments, as an encrypted token has": lambda f: f.session.access_token + ".x.x",
    "encrypted, as its header says": lambda f: f.rs256(alg="RSA-OAEP", enc="A256GCM"),
    "empty segments": lambda _: "..",
    "cut off at the end": lambda f: f.session.access_token[:-10],
    "twice": lambda f: f.session.access_token * 2,
    "padding after the signature": lambda f: f.session.access_token + "==",
    "padding after the claims": Forger.padded,
    "a signature in the other base64": Forger.in_the_other_base64,
    "unused bits in the last character": lambda f: alike(f.session.access_token),
    "a sign in the signature that base64 has not": lambda f: (
        f.session.access_token[:-9] + "!" + f.session.access_token[-9:]
    ),
    "a line end in the signature": lambda f: f.session.access_token[:-9] + "\n" + f.session.access_token[-9:],
    "a line end after it": lambda f: f.session.access_token + "\n",
    "a space in it": lambda f: f.session.access_token[:-9] + " " + f.session.access_token[-9:],
    "a NUL after it": lambda f: f.session.access_token + "\0",
    "full-width dots": lambda f: f.session.access_token.replace(".", "\uff0e"),
    "a byte order mark before it": lambda f: "\ufeff" + f.session.access_token,
    "emoji": lambda _: "\U0001f600.\U0001f600.\U0001f600",
    **{
        f"HS256 with the public key as {form}": lambda f, encode=encode: f.hmac(encode(f.key.public_key()))
        for form, encode in PUBLIC.items()
    },
    "HS384 with the public key as PEM": lambda f: f.hmac(public_pem(f.key.public_key()), 384),
    "HS512 with the public key as PEM": lambda f: f.hmac(public_pem(f.key.public_key()), 512),
    "HS256 with the kid": lambda f: f.hmac(f.kid.encode()),
    "HS256 with nothing": lambda f: f.hmac(b""),
    "RS384 by the right key": lambda f: f.sign(header={"alg": "RS384"}),
    "RS512 by the right key": lambda f: f.sign(header={"alg": "RS512"}),
    "PS256 by the right key": lambda f: f.sign(header={"alg": "PS256"}),
    "ES256 by an own key": lambda f: f.es256(),
    "RS256 by another key under the right kid": lambda f: f.sign(key=f.own_key),
    "unknown kid": lambda f: f.sign(header={"kid": "unknown"}),
    "kid of another key": lambda f: f.sign(header={"kid": thumbprint(f.own_jwk())}, key=f.own_key),
    "no kid": lambda f: f.sign(header={"kid": None}),
    "empty kid": lambda f: f.sign(header={"kid": ""}),
    "kid null": lambda f: f.rs256(kid=None),
    "kid a list": lambda f: f.rs256(kid=[f.kid]),
    "kid an object": lambda f: f.rs256(kid={"kid": f.kid}),
    "kid a number": lambda f: f.rs256(kid=0),
    "kid an empty file, as the secret is": lambda f: f.assemble(
        {"alg": "HS256", "kid": "/dev/null"}, lambda signed: hmac.digest(b"", signed, "sha256")
    ),
    "kid of SQL": lambda f: f.rs256(kid=f"x' union select '{f.kid}"),
    "kid with a NUL": lambda f: f.rs256(kid=f"{f.kid}\0"),
    "kid with a space": lambda f: f.rs256(kid=f" {f.kid}"),
    "kid a path": lambda f: f.sign(header={"kid": f"../keys/{f.kid}"}),
    "kid with another case": lambda f: f.sign(header={"kid": f.kid.swapcase()}),
    "typ JWT": lambda f: f.sign(header={"typ": "JWT"}),
    "typ in capitals": lambda f: f.sign(header={"typ": "AT+JWT"}),
    "typ of an ID token": lambda f: f.sign(header={"typ": "id_token+jwt"}),
    "typ with its tree": lambda f: f.rs256(typ="application/at+jwt"),
    "typ a list": lambda f: f.rs256(typ=["at+jwt"]),
    "typ null": lambda f: f.rs256(typ=None),
    "no typ": lambda f: f.sealed(segment({"alg": "RS256", "kid": f.kid}), segment(f.claims)),
    "unknown crit": lambda f: f.sign(header={"crit": ["exp2"], "exp2": 1}),
    "crit that is not there": lambda f: f.rs256(crit=["exp2"]),
    "crit of a registered name": lambda f: f.rs256(crit=["alg"]),
    "crit empty": lambda f: f.rs256(crit=[]),
    "crit a word": lambda f: f.rs256(crit="exp"),
    "crit b64": lambda f: f.rs256(crit=["b64"], b64=False),
    "b64 false": lambda f: f.rs256(b64=False),
    "own key in jwk": lambda f: f.sign(header={"jwk": f.own_jwk()}, key=f.own_key),
    "own key behind jku": lambda f: f.sign(header={"jku": f"{f.server}/jwks.json"}, key=f.own_key),
    "own key behind x5u": lambda f: f.sign(header={"x5u": f"{f.server}/certificate.pem"}, key=f.own_key),
    "own key in x5c": lambda f: f.sign(
        header={"x5c": [base64.b64encode(f.own_certificate.public_bytes(DER)).decode()]}, key=f.own_key
    ),
    "own key behind jku, under its own kid": lambda f: f.sign(
        header={"jku": f"{f.server}/jwks.json", "kid": thumbprint(f.own_jwk())}, key=f.own_key
    ),
    "foreign issuer": lambda f: f.sign(iss="elsewhere"),
    "issuer with a slash": lambda f: f.sign(iss="manacore/"),
    "issuer in capitals": lambda f: f.sign(iss="MANACORE"),
    "issuer a list": lambda f: f.written("iss", '["manacore"]'),
    "foreign audience": lambda f: f.sign(aud="elsewhere"),
    "foreign audiences": lambda f: f.sign(aud=["elsewhere", "nowhere"]),
    "empty audience": lambda f: f.sign(aud=[]),
    "audience an object": lambda f: f.written("aud", '{"manacore":1}'),
    "audience a list in a list": lambda f: f.written("aud", '[["manacore"]]'),
    "audience null": lambda f: f.sign(aud=None),
    "issued in the future": lambda f: f.sign(iat=int(NOW) + 3600, exp=int(NOW) + 4500),
    "not yet valid": lambda f: f.sign(nbf=int(NOW) + 3600, exp=int(NOW) + 4500),
    "issue a number in quotes": lambda f: f.sign(iat=str(int(NOW))),
    "expiry a word": lambda f: f.sign(exp="tomorrow"),
    "expiry a number in quotes": lambda f: f.sign(exp=str(int(NOW) + 900)),
    "expiry no whole number": lambda f: f.sign(exp=NOW + 900.5),
    "expiry null": lambda f: f.sign(exp=None),
    "expiry a list": lambda f: f.sign(exp=[int(NOW) + 900]),
    "expiry beyond all numbers": lambda f: f.sign(exp=10**400),
    "expiry NaN": lambda f: f.written("exp", "NaN"),
    "expiry infinite": lambda f: f.written("exp", "Infinity"),
    "expiry too large for a float": lambda f: f.written("exp", "1e400"),
    "not before NaN": lambda f: f.written("nbf", "NaN"),
    **{f"no {name}": lambda f, name=name: f.sign(without=name) for name in sorted(CLAIMS - FOR_OTHERS)},
    "subject no UUID": lambda f: f.sign(sub="admin"),
    "subject in capitals": lambda f: f.sign(sub=f.session.user_id.upper()),
    "subject in braces": lambda f: f.sign(sub=f"{{{f.session.user_id}}}"),
    "subject a list": lambda f: f.written("sub", f'["{f.session.user_id}"]'),
    "a byte more in the header": lambda f: f.spaced(0),
    "a byte more in the claims": lambda f: f.spaced(1),
    "changed first byte of the signature": lambda f: f.changed(0),
    "changed byte of the signature": lambda f: f.changed(100),
    "claims of another token": lambda f: swap(f.session.access_token, f.stranger.access_token, 1),
    "signature of another token": lambda f: swap(f.session.access_token, f.stranger.access_token, 2),
    "100 KB of claims": lambda f: f.sign(filler="x" * 100_000),
    "9000 characters": lambda f: f.sign(filler="x" * 6_000),
    "header an array": lambda f: f.sealed(base64url(b"[]"), segment(f.claims)),
    "header no JSON": lambda f: f.sealed(base64url(b"{"), segment(f.claims)),
    "claims an array": lambda f: raw(f, b"[]"),
    "claims no JSON": lambda f: raw(f, b"{"),
    "claims and more": lambda f: raw(f, json.dumps(f.claims).encode() + b"{}"),
    "claims in UTF-16": lambda f: raw(f, json.dumps(f.claims).encode("utf-16")),
    "claims with half a surrogate pair": lambda f: f.written("x", r'"\ud800"'),
    "claims with a NUL": lambda f: f.written("x", r'"\u0000"'),
    "claims nested too deeply": lambda f: f.written("x", "[" * 2500 + "]" * 2500),
    "refresh token": lambda f: f.session.refresh_token,
}
EXPIRED = {
    "expired": lambda f: f.sign(iat=int(NOW) - 1000, exp=int(NOW) - 100),
    "expired in 1970": lambda f: f.sign(exp=0),
    "expired before all time": lambda f: f.sign(exp=-(2**63)),
}
# Signed with the right key, as a bug elsewhere or a stale token would have it: the database refuses.
UNTRUE = {
    "session of nobody": ("session_ended", lambda f: f.sign(sessionId=str(uuid.uuid4()))),
    "session of another user": (
        "session_ended",
        lambda f: f.sign(sessionId=claims_of(f.stranger.access_token)["sessionId"]),
    ),
    "user unknown": ("session_ended", lambda f: f.sign(sub=str(uuid.uuid4()))),
    "user another, session own": ("session_ended", lambda f: f.sign(sub=f.stranger.user_id)),
    "user twice, another last": (
        "session_ended",
        lambda f: raw(f, json.dumps(f.claims)[:-1].encode() + f',"sub":"{f.stranger.user_id}"}}'.encode()),
    ),
    "role twice, admin last": (
        "role_changed",
        lambda f: raw(f, json.dumps(f.claims)[:-1].encode() + b',"role":"admin"}'),
    ),
    "role admin": ("role_changed", lambda f: f.sign(role="admin")),
    "role service": ("role_changed", lambda f: f.sign(role="service")),
    "role unknown": ("role_changed", lambda f: f.sign(role="god")),
    "role empty": ("role_changed", lambda f: f.sign(role="")),
}


def swap(token: str, other: str, segment: int) -> str:
    parts = token.split(".")
    parts[segment] = other.split(".")[segment]
    return ".".join(parts)


def raw(forger: Forger, payload: bytes) -> str:
    """These very bytes as claims, signed by the right key."""
    return jwt.api_jws.encode(payload, forger.key, algorithm="RS256", headers={"kid": forger.kid, "typ": "at+jwt"})


@contextmanager
def files_served(directory: Path, asked: list[str]) -> Iterator[str]:
    """The URL of a server that has these files and notes what it is asked for."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            asked.append(format % arguments)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def forger(
    gateway: Gateway, session: Session, stranger: Session, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Forger]:
    made = Forger(gateway, session, stranger)
    jwk = made.own_jwk()
    files = tmp_path_factory.mktemp("thief")
    (files / "jwks.json").write_text(json.dumps({"keys": [{**jwk, "kid": kid} for kid in (made.kid, thumbprint(jwk))]}))
    (files / "certificate.pem").write_bytes(made.own_certificate.public_bytes(PEM))
    with files_served(files, made.asked) as made.server:
        yield made


async def assert_refused_everywhere(service: Service, token: str, code: str) -> None:
    for route in BEARER_ROUTES:
        body = route.body.example if route.body and route.body.example else None
        if len(token) > 16_000 or re.search(r"[\0\n]", token):
            break  # no header can be that
        assert_problem(await service.request(route.method, route.path, token=token, body=body), 401, code)
    reply = await service.post(VALIDATE, {"token": token})
    if "\0" in token:
        assert_problem(reply, 400, "invalid_request")
    elif len(token) > 60_000:
        assert_problem(reply, 413, "payload_too_large")
    elif len(token) > 8192:
        assert_problem(reply, 400, "invalid_request")
    else:
        assert (reply.status, reply.body) == (200, {"valid": False, "error": code})


GOOD: dict[str, Callable[[Forger], str]] = {
    "another jti": lambda f: f.sign(jti=str(uuid.uuid4())),
    "a later end": lambda f: f.sign(exp=int(NOW) + 4500),
    "valid for a while": lambda f: f.sign(nbf=int(NOW) - 60),
    "an audience among others": lambda f: f.sign(aud=["elsewhere", "manacore"]),
    "8000 characters": lambda f: f.sign(filler="x" * 5_000),
    "put together": lambda f: f.rs256(),
    "sealed": lambda f: f.sealed(segment(f.header), segment(f.claims)),
    "a claim more": lambda f: f.written("x", '"x"'),
}


@pytest.mark.parametrize("what", GOOD)
async def test_the_forger_can_make_a_good_token(forger: Forger, what: str) -> None:
    """Otherwise none of the refusals below would say anything."""
    reply = await forger.session.service.get("/api/v1/credits/balance", token=GOOD[what](forger))
    assert reply.status == 200, reply.text


@pytest.mark.parametrize("what", FORGERIES)
async def test_a_forgery_is_refused_everywhere(forger: Forger, what: str) -> None:
    await assert_refused_everywhere(forger.session.service, FORGERIES[what](forger), "invalid_token")


@pytest.mark.parametrize("what", EXPIRED)
async def test_an_expired_token_is_refused_everywhere(forger: Forger, what: str) -> None:
    await assert_refused_everywhere(forger.session.service, EXPIRED[what](forger), "token_expired")


@pytest.mark.parametrize("what", UNTRUE)
async def test_claims_that_are_not_true_are_refused_everywhere(forger: Forger, what: str) -> None:
    code, forge = UNTRUE[what]
    await assert_refused_everywhere(forger.session.service, forge(forger), code)


@pytest.mark.parametrize(
    "session_id", ["admin", "", "null", 5, None, ["a"], "00000000-0000-0000-0000-00000000000", "\0"]
)
async def test_a_session_id_that_is_no_uuid_is_a_401(forger: Forger, session_id: Any) -> None:
    token = forger.sign(sessionId=session_id)
    service = forger.session.service
    for route in BEARER_ROUTES:
        body = route.body.example if route.body and route.body.example else None
        reply = await service.request(route.method, route.path, token=token, body=body)
        assert reply.status == 401, reply.text
    reply = await service.post(VALIDATE, {"token": token})
    assert (reply.status, reply.body["valid"]) == (200, False), reply.text


async def test_an_access_token_is_no_refresh_token(session: Session) -> None:
    assert_problem(await session.service.refresh(session.access_token), 401, "invalid_refresh_token")
    reply = await session.service.post("/api/v1/auth/logout", {"refreshToken": session.access_token})
    assert_problem(reply, 401, "invalid_refresh_token")


async def test_a_refresh_token_is_no_access_token_in_any_place(session: Session) -> None:
    for scheme in ("Bearer", "bearer", "Refresh", "Basic"):
        headers = {"Authorization": f"{scheme} {session.refresh_token}", "Cookie": f"token={session.access_token}"}
        reply = await session.service.get("/api/v1/credits/balance", headers=headers)
        assert reply.status == 401, reply.text


async def test_none_of_it_harmed_the_session_or_showed_in_an_error(
    gateway: Gateway, session: Session, forger: Forger
) -> None:
    assert forger.asked == [], "the gateway followed an address in a token"
    assert (await session.balance())["totalSpent"] == 0
    assert [line for line in gateway.output if '"level":"error"' in line] == []


# ---------------------------------------------------------------- keys


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def keys(data_dir: Path, *arguments: str) -> str:
    done = mana("keys", *arguments, environment={"DATA_DIR": str(data_dir)})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_first_key_is_made_once(data_dir: Path) -> None:
    kid = keys(data_dir, "generate")
    assert list(private_keys(data_dir)) == [kid]
    refused = mana("keys", "generate", environment={"DATA_DIR": str(data_dir)})
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == ["error: there are signing keys already", "hint:  run: mana keys rotate"]
    assert list(private_keys(data_dir)) == [kid]


@pytest.mark.parametrize(("arguments", "size"), [((), 2048), (("--bits", "3072"), 3072)])
def test_a_key_has_2048_bits_or_as_many_as_asked_for(data_dir: Path, arguments: tuple[str, ...], size: int) -> None:
    kid = keys(data_dir, "generate", *arguments)
    assert private_keys(data_dir)[kid].key_size == size


@pytest.mark.parametrize("bits", ["1024", "0", "-1"])
def test_a_short_key_is_refused(data_dir: Path, bits: str) -> None:
    refused = mana("keys", "generate", "--bits", bits, environment={"DATA_DIR": str(data_dir)})
    assert refused.returncode == 1
    assert refused.stderr == "error: a key needs at least 2048 bits (RFC 7518, section 3.3)\n"


def test_a_rotation_takes_no_lifetime_that_the_gateway_does_not(data_dir: Path) -> None:
    environment = {"DATA_DIR": str(data_dir), "JWT_ACCESS_TOKEN_EXPIRY": "73000d"}
    assert mana("keys", "generate", environment=environment).returncode == 0
    refused = mana("keys", "rotate", environment=environment)
    assert (refused.returncode, refused.stderr) == (1, "error: JWT_ACCESS_TOKEN_EXPIRY must be from 1s to 30d\n")


def test_a_key_of_absurd_size_is_refused_at_once(data_dir: Path) -> None:
    refused = mana("keys", "generate", "--bits", "1000000", environment={"DATA_DIR": str(data_dir)})
    assert (refused.returncode, refused.stderr) == (1, "error: a key has at most 16384 bits\n")
    assert private_keys(data_dir) == {}


def test_key_files_are_readable_by_their_owner_alone(data_dir: Path) -> None:
    keys(data_dir, "generate")
    keys(data_dir, "rotate")
    directory = data_dir / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert {path.suffix for path in files} == {".pem", ".json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_there_is_no_rotation_without_a_first_key(data_dir: Path) -> None:
    refused = mana("keys", "rotate", environment={"DATA_DIR": str(data_dir)})
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[0] == "error: there are no signing keys to rotate"


def test_a_lead_that_caches_would_miss_is_refused(data_dir: Path) -> None:
    keys(data_dir, "generate")
    assert mana("keys", "rotate", "--lead", "4", environment={"DATA_DIR": str(data_dir)}).returncode == 2
    assert len(private_keys(data_dir)) == 1


def test_the_list_says_what_each_key_does(data_dir: Path) -> None:
    first = keys(data_dir, "generate")
    second = keys(data_dir, "rotate", "--lead", "100")
    lines = keys(data_dir, "list").splitlines()
    assert [line.split()[0] for line in lines] == [first, second]
    assert "signs" in lines[0]
    assert "is published, signs in" in lines[1]


def test_a_key_signs_from_its_time_on_and_verifies_until_the_last_token_is_over(data_dir: Path) -> None:
    first = keys(data_dir, "generate")
    second = keys(data_dir, "rotate", "--lead", "100", "--token-ttl", "900")
    old, new = KeyDirectory(data_dir / "keys").entries()
    assert (old.kid, new.kid) == (first, second)
    assert new.signs_from - new.created_at == 100
    assert new.verifies_until is None
    assert old.verifies_until
    assert old.verifies_until >= new.signs_from + 900


@pytest.mark.parametrize(("lifetime", "seconds"), [("1h", 3600), ("900", 900), ("", 900), (" ", 900)])
def test_the_old_key_verifies_as_long_as_the_gateway_lets_tokens_live(
    data_dir: Path, lifetime: str, seconds: int
) -> None:
    environment = {"DATA_DIR": str(data_dir), "JWT_ACCESS_TOKEN_EXPIRY": lifetime}
    for command in ("generate", "rotate"):
        assert mana("keys", command, environment=environment).returncode == 0
    old, new = KeyDirectory(data_dir / "keys").entries()
    assert old.verifies_until
    assert old.verifies_until - new.signs_from == seconds + 60


def test_a_key_that_waits_is_overtaken_by_a_rotation_in_a_hurry(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every second, also when the time of the overtaken key comes: who signs now verifies when the token ends."""
    first = keys(data_dir, "generate")
    overtaken = keys(data_dir, "rotate", "--lead", "600")
    hurried = keys(data_dir, "rotate", "--lead", "5")
    directory = KeyDirectory(data_dir / "keys")
    ring = directory.load()
    start = time.time()
    signed = []
    for second in range(0, 4000, 10):
        monkeypatch.setattr(time, "time", lambda now=start + second: now)
        signed.append(ring.signing_key()[0])
        assert next(line for line in directory.describe() if line.endswith("  signs")).split()[0] == signed[-1]
        monkeypatch.setattr(time, "time", lambda now=start + second + 899: now)
        assert ring.public_key(signed[-1]), f"its tokens are refused from second {second} on"
    assert signed == [first] + [hurried] * 399
    assert overtaken not in signed


def test_a_rotation_deletes_keys_whose_time_is_over(data_dir: Path) -> None:
    first = keys(data_dir, "generate")
    second = keys(data_dir, "rotate")
    manifest = data_dir / "keys" / "keys.json"
    entries = json.loads(manifest.read_text())
    entries[0]["verifies_until"] = time.time() - 1
    manifest.write_text(json.dumps(entries))
    third = keys(data_dir, "rotate")
    assert set(private_keys(data_dir)) == {second, third}
    assert first not in {second, third}


def test_rotations_at_once_lose_no_key(data_dir: Path) -> None:
    keys(data_dir, "generate")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: keys(data_dir, "rotate"), range(4)))
    listed = [entry["kid"] for entry in json.loads((data_dir / "keys" / "keys.json").read_text())]
    assert set(made) < set(listed)
    assert sorted(listed) == sorted(private_keys(data_dir))


async def test_a_rotation_under_load_fails_no_request(database: Database) -> None:
    """With two workers: the new key is published before it signs, and old tokens go on working."""
    published: set[str] = set()
    signing: list[str] = []
    replies: list[Reply] = []
    close = {"Connection": "close"}  # so that each request may meet the other worker

    with Gateway(database.gateway_url, {"WORKERS": "2"}) as gateway:
        (first,) = private_keys(gateway.data_dir)
        async with Service(gateway.url) as service:
            users = await together(*(service.new_session() for _ in range(4)))
            old_tokens = {user.user_id: user.access_token for user in users}
            first_signed: list[int] = []

            async def load(user: Session) -> None:
                jwks = await service.get("/.well-known/jwks.json", headers=close)
                published.update(key["kid"] for key in jwks.body["keys"])
                body = {"refreshToken": user.refresh_token}
                refreshed = await service.post("/api/v1/auth/refresh", body, headers=close)
                replies.extend([jwks, refreshed])
                user.access_token, user.refresh_token = refreshed.body["accessToken"], refreshed.body["refreshToken"]
                kid = jwt.get_unverified_header(user.access_token)["kid"]
                assert kid in published, "signed by a key that was not published before"
                if kid != first:
                    first_signed.append(claims_of(user.access_token)["iat"])
                signing.append(kid)
                for token in (old_tokens[user.user_id], user.access_token):
                    replies.append(await service.get("/api/v1/credits/balance", token=token, headers=close))
                    validated = await service.post(VALIDATE, {"token": token}, headers=close)
                    assert validated.body["valid"], validated.text

            for _ in range(5):
                await together(*map(load, users))
            assert set(signing) == {first}
            overtaken = await asyncio.to_thread(keys, gateway.data_dir, "rotate")
            second = await asyncio.to_thread(keys, gateway.data_dir, "rotate", "--lead", "5")
            deadline = time.monotonic() + 30
            while signing[-20:].count(second) < 20 and time.monotonic() < deadline:
                await together(*map(load, users))

            signs_from = KeyDirectory(gateway.data_dir / "keys").entries()[-1].signs_from
            assert min(first_signed) >= int(signs_from), "it signed before its time"
            assert set(signing) == {first, second}
            assert signing[-20:] == [second] * 20
            assert published == {first, overtaken, second}
            assert {reply.status for reply in replies} == {200}
        assert [line for line in gateway.output if '"level":"error"' in line] == []


def private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.mark.parametrize("escaped", [False, True])
async def test_keys_come_from_the_environment(database: Database, escaped: bool) -> None:
    """One signs; it and every public key verify; line ends may be written as \\n."""
    own, *older = (generate_private_key(65537, 2048) for _ in range(3))
    further = "".join(public_pem(key.public_key()).decode() for key in older)

    def written(pem: str) -> str:
        return pem.replace("\n", "\\n") if escaped else pem

    environment = {"JWT_PRIVATE_KEY": written(private_pem(own)), "JWT_PUBLIC_KEY": written(further)}
    with Gateway(database.gateway_url, environment) as gateway:
        async with Service(gateway.url) as service:
            jwks = (await service.get("/.well-known/jwks.json")).body["keys"]
            kids = [thumbprint(jwt.algorithms.RSAAlgorithm.to_jwk(k.public_key(), as_dict=True)) for k in (own, *older)]
            assert {key["kid"] for key in jwks} == set(kids)
            user = await service.new_session()
            assert jwt.get_unverified_header(user.access_token)["kid"] == kids[0]
            claims = claims_of(user.access_token)
            for kid, key in zip(kids, (own, *older), strict=True):
                token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid, "typ": "at+jwt"})
                assert (await service.get("/api/v1/credits/balance", token=token)).status == 200


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"JWT_PRIVATE_KEY": "garbage"}, "error: JWT_PRIVATE_KEY must be a key in PEM form"),
        ({"JWT_PRIVATE_KEY": "-----BEGIN garbage"}, "error: the signing key is not a readable private key in PEM form"),
        (
            {"JWT_PRIVATE_KEY": private_pem(generate_private_key(65537, 1024))},  # noqa: S505
            "error: the signing key must be an RSA key of at least 2048 bits",
        ),
        (
            {
                "JWT_PRIVATE_KEY": private_pem(generate_private_key(65537, 2048)),
                "JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----",
            },
            "error: JWT_PUBLIC_KEY holds a key that is not readable",
        ),
    ],
)
def test_a_bad_key_in_the_environment_stops_the_start(
    database: Database, environment: dict[str, str], line: str
) -> None:
    gateway = Gateway(database.gateway_url, environment)
    gateway.start(expect_up=False)
    assert gateway.end() == 1
    gateway.__exit__()
    assert line + "\n" in gateway.output
    assert not any("Traceback" in written for written in gateway.output)
    assert not any("PRIVATE" in written and "BEGIN" in written for written in gateway.output)
