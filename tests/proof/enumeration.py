"""Does an answer tell who has an account? Compares refusals that must look alike: every byte, and the time.

The long form has bcrypt as in production, and reports the medians of each kind of refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

from harness.clients import Reply, Service
from harness.databases import Database, start_server
from harness.gateways import Gateway
from harness.places import ROOT

# A disk that takes 20 ms for every commit: who commits something is told from who does not.
SLOW_DISK = {"fsync": "on", "synchronous_commit": "on", "commit_delay": "20000", "commit_siblings": "0"}
MOST = 0.005  # seconds that medians may be apart
WRONG = "not the password of anybody"

Attempt = Callable[[], Awaitable[Reply]]


async def attempts(database: Database, service: Service) -> dict[str, dict[str, Attempt]]:
    """For each route, the attempts that must not be told apart."""
    user, disabled, nobody = [await service.new_session() for _ in range(3)]
    database.query("select auth.set_disabled(%s, true)", disabled.email)
    database.query("delete from auth.passwords where user_id = %s", nobody.user_id)
    user_part, _, secret = user.refresh_token.partition(".")
    other_part = disabled.refresh_token.partition(".")[0]
    return {
        "login": {
            "unknown address": lambda: service.login(f"{secrets.token_hex(8)}@example.com", WRONG),
            "wrong password": lambda: service.login(user.email, WRONG),
            "wrong password of a disabled user": lambda: service.login(disabled.email, WRONG),
            "user without a password": lambda: service.login(nobody.email, WRONG),
        },
        "refresh": {
            "unknown user": lambda: service.refresh(f"{secrets.token_hex(16)}.{secret}"),
            "unknown token": lambda: service.refresh(f"{user_part}.{secrets.token_urlsafe(32)}"),
            "token of another user": lambda: service.refresh(f"{other_part}.{secret}"),
        },
    }


def look(reply: Reply) -> tuple[object, ...]:
    """What of an answer must be the same; request id and times are each answer's own."""
    headers = {name: value for name, value in reply.headers.items() if name.lower() not in {"x-request-id", "date"}}
    body = {name: value for name, value in reply.body.items() if name not in {"instance", "timestamp"}}
    return reply.status, sorted(headers.items()), sorted(body.items(), key=str)


async def measure(kinds: Mapping[str, Attempt], samples: int, seed: int) -> tuple[dict[str, float], list[object]]:
    """The median time of each kind in seconds, and all the different looks of the answers.

    Kinds take turns, in an order drawn again for each round: whatever else the machine does hits all alike.
    """
    order = random.Random(seed)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    looks: list[object] = []
    for _ in range(samples):
        for name in order.sample(list(kinds), len(kinds)):
            started = time.perf_counter()
            reply = await kinds[name]()
            times[name].append(time.perf_counter() - started)
            if look(reply) not in looks:
                looks.append(look(reply))
    return {name: statistics.median(taken) for name, taken in times.items()}, looks


def gap(medians: Mapping[str, float]) -> float:
    """Seconds between the slowest and the fastest kind."""
    return max(medians.values()) - min(medians.values())


def soak(samples: int, seed: int) -> int:
    """The exit code: 1 when anything was found."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(start_server(SLOW_DISK))
        cluster.prepare()
        database = stack.enter_context(cluster.database())
        [cost] = (ROOT / "sql" / "functions").rglob("password_cost.sql")
        database.query(cost.read_text())
        gateway = stack.enter_context(Gateway(database.gateway_url))
        return asyncio.run(_report(database, gateway, samples, seed))


async def _report(database: Database, gateway: Gateway, samples: int, seed: int) -> int:
    failed = False
    async with Service(gateway.url) as service:
        for route, kinds in (await attempts(database, service)).items():
            medians, looks = await measure(kinds, samples, seed)
            for name, median in medians.items():
                print(f"{route:8} {name:34} {median * 1000:8.2f} ms")
            print(f"{route:8} {len(looks)} look, gap {gap(medians) * 1000:.2f} ms (seed {seed})")
            failed |= len(looks) > 1 or gap(medians) > MOST
    return int(failed)
