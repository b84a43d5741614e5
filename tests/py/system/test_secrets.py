"""No secret reaches a log, an error, a statistic or the database in the clear, and no personal data a log.

Every tier runs as somebody in search of a fault might set it up: PostgreSQL logs all statements and how long
they took, and counts them; Redis says all it can; the gateway logs for debugging. PgBouncer is as it is by
default: with -v it writes the passwords of its own auth_file.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
import pytest
import redis

from gateway.api.table import ROUTES
from gateway.tokens import passwords
from harness.clients import Reply, Service, Session
from harness.databases import Database, start_server
from harness.gateways import Gateway
from harness.servers import PgBouncer, Redis

BALANCE = "/api/v1/credits/balance"
PEPPER = "canary-pepper-3f9a1c7e5b2d8064-canary"
SECRETS = {
    "password": "canary-password-77c1",
    "wrong password": "canary-wrong-password-41d0",
    "e-mail": "canary-email-9be2@example.com",
    "idempotency key": "canary-idempotency-key-c3a8",
    "description": "canary-description-5d21",
    "metadata": "canary-metadata-e771",
    "name": "canary-name-20fb",
    "query": "canary-query-8aa4",
    "path": "canary-path-b1c9",
    "agent": "canary-agent-6e35",
    "garbage token": "canary-token-f00d",
    "device": "canary-device-aa17",
    "header": "canary-header-9c9c",
    "pepper": PEPPER,
}


# A word for each place of each route where a client might have put a secret.
SPRAYED = "sprayed-canary"

SERVER = {
    "shared_preload_libraries": "pg_stat_statements",
    "track_activity_query_size": "16384",
    "log_connections": "on",
    "log_disconnections": "on",
}
DATABASE = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_min_error_statement": "info",
    "log_min_messages": "info",
    "log_lock_waits": "on",
}


class TalkativeRedis(Redis):
    def command(self) -> list[str]:
        return [*super().command(), "--loglevel", "debug"]


@dataclass
class RecordingService(Service):
    """A client that keeps the errors it got."""

    errors: list[Reply] = field(default_factory=list)

    async def request(self, method: str, path: str, **options: Any) -> Reply:  # type: ignore[override]
        reply = await super().request(method, path, **options)
        if reply.status >= 400:
            self.errors.append(reply)
        return reply


@dataclass
class Traces:
    """What was said in secret, and what each tier wrote meanwhile."""

    canaries: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


async def log_in(service: Service, email: str, password: str, **fields: str) -> Session:
    body = (await service.login(email, password, **fields)).body
    return Session(service, body["user"]["id"], email, body["accessToken"], body["refreshToken"])


async def walk_with_secrets(service: Service) -> list[str]:
    """Each route, well and badly called; returns the tokens that came up."""
    s = SECRETS
    agent = {"User-Agent": s["agent"], "X-Canary": s["header"]}
    registration = {"email": s["e-mail"], "password": s["password"], "name": s["name"]}
    for _ in range(2):  # the second one is a 409, by a unique index that quotes its value
        await service.post("/api/v1/auth/register", registration, headers=agent)
    user = await log_in(service, s["e-mail"], s["password"], deviceId=s["device"], deviceName=s["device"])
    await service.login(s["e-mail"], s["wrong password"])
    first = user.refresh_token
    refreshed = (await service.refresh(first)).body
    spend = {
        "amount": 1,
        "appId": "canary-app",
        "description": s["description"],
        "idempotencyKey": s["idempotency key"],
        "metadata": {"x": s["metadata"]},
    }
    await user.post("/api/v1/credits/use", spend, headers=agent)
    await user.post("/api/v1/credits/use", spend)
    await user.post("/api/v1/credits/use", {**spend, "amount": 2})
    await user.post("/api/v1/credits/use", {**spend, "amount": 10**9, "idempotencyKey": None})
    await user.post("/api/v1/credits/use", {**spend, "amount": s["metadata"], s["metadata"]: 1})
    await user.post("/api/v1/credits/use", data=f'{{"a":"{s["password"]}'.encode())
    await user.post("/api/v1/credits/use", data=f'{{"description":"{s["description"]}\\u0000"}}'.encode())
    await user.get("/api/v1/credits/balance")
    await user.get(f"/api/v1/credits/transactions?appId={s['query']}")
    await user.get(f"/api/v1/credits/transactions?type={s['query']}&{s['query']}=1")
    await user.get("/api/v1/credits/purchases")
    await user.get("/api/v1/credits/packages")
    await service.get(f"/{s['path']}")
    await service.post("/api/v1/auth/validate", {"token": user.access_token})
    await service.post("/api/v1/auth/validate", {"token": s["garbage token"]})
    await service.get(BALANCE, token=s["garbage token"])
    await service.refresh(s["garbage token"])
    await service.refresh(f"{user.user_id}.{s['garbage token']}")
    other = await log_in(service, s["e-mail"], s["password"])
    await other.post("/api/v1/auth/logout", {"refreshToken": other.refresh_token})
    await user.post("/api/v1/auth/logout")
    await user.get(BALANCE)
    return [
        user.access_token, first, refreshed["accessToken"], refreshed["refreshToken"],
        other.access_token, other.refresh_token,
    ]  # fmt: skip


async def spray(service: Service, token: str) -> None:
    """Each route with a canary in each place where it takes anything, and where it takes nothing."""
    for route in ROUTES:
        path = route.path
        model = route.body or route.query
        fields = [info.encode_name for info in msgspec.structs.fields(model)] if model else []
        word = f"{SPRAYED}-{route.function}"
        for name in [*fields, "password", "refreshToken", word]:
            await service.request(route.method, path, token=token, body={name: word})
            await service.request(route.method, path, token=token, body={name: {word: [word]}})
            await service.request(route.method, f"{path}?{name}={word}", token=token)
        for header in ("User-Agent", "Cookie", "Referer", "Origin", "Idempotency-Key", "X-Forwarded-For", "Accept",
                       "Content-Encoding", "Content-Type", "X-Api-Key", "Proxy-Authorization", word):  # fmt: skip
            await service.request(route.method, path, token=token, data=b"{}", headers={header: word})
        for authorization in (f"Bearer {word}", f"Basic {word}", word, f"Bearer {token}.{word}"):
            await service.request(route.method, path, headers={"Authorization": authorization})
        await service.request(route.method, f"{path}/{word}", token=token)
        await service.request("PATCH", path, token=token, data=word.encode())
        await service.request(route.method, path, token=token, data=f'{{"a": "{word}'.encode())


@pytest.fixture(scope="module")
async def traces() -> Traces:
    found = Traces()
    with start_server(SERVER) as cluster:
        cluster.prepare()
        with psycopg.connect(cluster.url("postgres"), autocommit=True) as admin:
            admin.execute("create extension pg_stat_statements")
        with cluster.database() as database, TalkativeRedis() as limits, PgBouncer(cluster) as pooler:
            for name, value in DATABASE.items():
                database.query(f"alter database {database.name} set {name} = '{value}'")
            environment = {
                "PASSWORD_PEPPER": PEPPER, "LOG_LEVEL": "debug", "RATE_LIMIT_MAX": "1000000",
                "RATE_LIMIT_AUTH_MAX": "1000000", **limits.environment,
            }  # fmt: skip
            with Gateway(pooler.url(database), environment) as gateway:
                async with RecordingService(gateway.url) as service:
                    tokens = await walk_with_secrets(service)
                    found.texts["errors"] = "\n".join(f"{e.status} {dict(e.headers)} {e.text}" for e in service.errors)
                    # Words that a client puts where it should not come back to it; they are no secrets of ours.
                    user = await service.new_session()
                    await spray(service, user.access_token)
                    found.texts["pg_dump"] = cluster.dump(database.name)
                    found.texts |= statistics(cluster.url("postgres"), database)
                    found.texts["Redis' keys"] = contents(limits)
                    await lose_the_database(service, database, user, cluster.url("postgres"))
                key_file = next((gateway.data_dir / "keys").glob("*.pem")).read_text()
            found.texts["gateway"] = "".join(gateway.output)
            pooler.stop(signal.SIGTERM)
            limits.stop(signal.SIGTERM)
            found.texts["PostgreSQL"] = cluster.log.read_text()
            found.texts["PgBouncer"] = (pooler.directory / "log").read_text()
            found.texts["Redis"] = (limits.directory / "log").read_text()
            database_password = database.gateway_url.split(":")[2].partition("@")[0]

    found.canaries = SECRETS | {
        "database password": database_password,
        "Redis password": Redis.password,
        "digest": passwords.digest(PEPPER, SECRETS["password"]),
        "digest of the wrong password": passwords.digest(PEPPER, SECRETS["wrong password"]),
    }
    found.canaries |= {f"line {i} of the signing key": line for i, line in enumerate(key_file.splitlines()[1:-1])}
    for i, token in enumerate(tokens):
        found.canaries |= {f"token {i}, part {j}": part for j, part in enumerate(token.split(".")[1:])}
    return found


def statistics(url: str, database: Database) -> dict[str, str]:
    """What the server keeps of statements; of the service alone, for the test itself sets a password."""
    with psycopg.connect(url, autocommit=True) as admin:
        counted = admin.execute(
            "select query from pg_stat_statements as s join pg_database as d on d.oid = s.dbid where datname = %s",
            (database.name,),
        ).fetchall()
        active = admin.execute(
            "select query from pg_stat_activity where usename = 'mana_gateway' and datname = %s", (database.name,)
        ).fetchall()
    return {"pg_stat_statements": "\n".join(q for (q,) in counted), "pg_stat_activity": "\n".join(q for (q,) in active)}


def contents(server: Redis) -> str:
    client = redis.Redis(port=server.port, password=server.password)
    return "\n".join(f"{key!r} {client.dump(key)!r}" for key in client.scan_iter())


async def lose_the_database(service: Service, database: Database, user: Session, admin_url: str) -> None:
    """Errors of the worse kind: the function is gone, then the database itself."""
    canary = {"description": SECRETS["description"], "idempotencyKey": SECRETS["idempotency key"]}
    database.query("alter function credits.spend_all rename to gone")
    again = await service.session(user.email)
    assert (await again.use(**canary)).status == 500
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f"drop database {database.name} with (force)".encode())
        admin.execute(f"create database {database.name} template template0".encode())  # for the fixture to drop
    assert (await service.login(SECRETS["e-mail"], SECRETS["password"])).status in {500, 503}
    assert (await again.use(**canary)).status in {500, 503}


def seen(traces: Traces, tier: str) -> set[str]:
    """The canaries in a text, as they are or as a dump writes bytes."""
    text = traces.texts[tier]
    return {name for name, canary in traces.canaries.items() if canary in text or canary.encode().hex() in text}


# What must be there, or else the wrong thing was read.
PROOF = {
    "gateway": r'"database_error"',
    "PostgreSQL": r"duration: \d+\.\d+ ms  (?:execute|parse|bind) .*api\.log_in\(",
    "PgBouncer": r"mana_gateway@127\.0\.0\.1",
    "Redis": r"Ready to accept connections",
    "Redis' keys": r"mana/",
    "pg_stat_statements": r"api\.log_in\(",
    "pg_stat_activity": r"api\.\w+\(",
    "errors": r"invalid_credentials",
}


@pytest.mark.parametrize("tier", PROOF)
async def test_nothing_that_was_said_in_secret_is_in(traces: Traces, tier: str) -> None:
    text = traces.texts[tier]
    assert re.search(PROOF[tier], text), text[-2000:]
    # An error says its own path and the names of the fields it was about: a client's own words, to itself.
    assert seen(traces, tier) - ({"path", "metadata", "query"} if tier == "errors" else set()) == set()
    assert SPRAYED not in text


# In the database in the clear, because it is what the service is for.
KEPT = {"e-mail", "idempotency key", "description", "metadata", "name", "device", "agent"}


async def test_nothing_that_opens_anything_is_in_a_dump(traces: Traces) -> None:
    assert "$2a$" in traces.texts["pg_dump"]
    assert seen(traces, "pg_dump") == KEPT
