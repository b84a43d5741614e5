"""How fast a running service answers over HTTP: `mana bench`, and one side of tests/bench.

wrk sends the quick calls, because it costs a fraction of what the service costs: with a client in Python we
would measure the client. A machine does about ten logins a second, so Python sends those and can tell their
answers apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gateway.problems import OperatorError

KINDS = ("balance", "use", "page", "validate", "refresh", "login")

_SCRIPT = Path(__file__).with_suffix(".lua")
_TIMEOUT = 10.0  # seconds
_ENOUGH = 1_000_000  # requests in a window; a run sends fewer
_SETTING_UP = 4  # concurrent requests that create users and sessions
_PATIENCE = 60.0  # seconds for which one of them is repeated while the service is busy


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement: right and wrong answers, and milliseconds to answer."""

    answers: int
    seconds: float
    errors: int
    p50: float
    p95: float
    p99: float
    refused: int = 0  # logins that got 503 with Retry-After; neither right nor wrong

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.answers / self.seconds


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that this percentage of values does not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown, aligned so that it is readable as plain text."""
    lines = [tuple(map(str, headings)), *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


# ---------------------------------------------------------------- quick calls


def require_wrk() -> None:
    """Raise OperatorError if wrk is not installed."""
    if not shutil.which("wrk"):
        raise OperatorError(
            "wrk is not installed", hint="Debian and Ubuntu: apt-get install wrk; macOS: brew install wrk"
        )


def send(
    url: str,
    kind: str,
    senders: Sequence[str],
    seconds: int,
    connections: int,
    **environment: str,
) -> Round:
    """Let wrk send one kind of request, for each of the senders in turn.

    A sender is an access token. For ``refresh`` it is a refresh token, which works once, so there must be
    more of them than connections. ``environment`` is for bench.lua.
    """
    with tempfile.NamedTemporaryFile("w", prefix="mana-bench-") as file:
        file.write("\n".join(senders))
        file.flush()
        finished = subprocess.run(
            ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
             "--timeout", f"{_TIMEOUT:.0f}s", "--script", str(_SCRIPT), url],
            env={**os.environ, "KIND": kind, "SENDERS": file.name, "SALT": secrets.token_hex(6), **environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if finished.returncode != 0:
        raise OperatorError(f"wrk failed: {(finished.stderr or finished.stdout).strip()}")
    counted = json.loads(finished.stdout.splitlines()[-1])
    answers = counted.pop("requests") - counted["errors"]
    return Round(answers=max(answers, 0), **counted)


# ---------------------------------------------------------------- logins


@dataclass(slots=True)
class Logins:
    """Answers to logins, with the seconds that each took."""

    right: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)  # 503 with Retry-After
    errors: int = 0

    async def add(self, client: aiohttp.ClientSession, email: str, password: str) -> None:
        """Log in, and count the answer."""
        began = time.monotonic()
        try:
            async with client.post("/api/v1/auth/login", json={"email": email, "password": password}) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError):
            self.errors += 1
            return
        took = time.monotonic() - began
        if response.status == 200:
            self.right.append(took)
        elif response.status == 503 and response.headers.get("Retry-After", "").isdigit():
            self.refused.append(took)
        else:
            self.errors += 1


def log_in(url: str, emails: Sequence[str], password: str, seconds: int, connections: int) -> Round:
    """Log in again and again over ``connections`` connections. Latencies are those of successful logins.

    As with pgbench, a login that is in flight when the time is over still counts.
    """
    logins = Logins()

    async def keep_on(client: aiohttp.ClientSession, first: int, until: float) -> None:
        turn = first
        while time.monotonic() < until:
            await logins.add(client, emails[turn % len(emails)], password)
            turn += connections

    async def work() -> float:
        async with connected(url) as client:
            began = time.monotonic()
            await asyncio.gather(*(keep_on(client, first, began + seconds) for first in range(connections)))
            return time.monotonic() - began

    took = asyncio.run(work())
    p50, p95, p99 = (1000 * percentile(logins.right, percent) for percent in (50, 95, 99))
    return Round(len(logins.right), took, logins.errors, p50, p95, p99, len(logins.refused))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens as many connections as it needs."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as client:
        yield client


# ---------------------------------------------------------------- a service that is not ours


def run(url: str, seconds: int, connections: int, users: int, report: Callable[[str], None]) -> dict[str, Round]:
    """Measure a running service with new users, which are not deleted. Raises OperatorError when it fails."""
    require_wrk()
    password = secrets.token_urlsafe(18)
    emails = [f"bench-{secrets.token_hex(8)}@example.com" for _ in range(users)]
    report(f"registering {users} users at {url}, and logging them in")
    sessions, credit = asyncio.run(_set_up(url, emails, password, connections))
    tokens = {
        "refresh": [session["refreshToken"] for session in sessions],
        "use": [
            session["accessToken"] for session in sessions[:users]
        ],  # all users in turn, because each can pay the same amount
    }
    rounds = {}
    for kind in KINDS:
        if kind == "use" and not credit:
            report("use: skipped, because new users have no credits here")
            continue
        report(kind)
        if kind == "login":
            rounds[kind] = log_in(url, emails, password, seconds, connections)
        else:
            senders = tokens.get(kind, tokens["use"])
            rounds[kind] = send(url, kind, senders, seconds, connections, BUDGET=str(credit * users))
    return rounds


def describe(rounds: Mapping[str, Round]) -> str:
    """The rounds as a table."""
    rows = [
        (kind, f"{r.rate:,.0f}" if r.rate >= 100 else f"{r.rate:,.1f}", *(f"{x:,.1f}" for x in (r.p50, r.p95, r.p99)),
         r.refused, r.errors)
        for kind, r in rounds.items()
    ]  # fmt: skip
    return table(("work", "req/s", "p50 ms", "p95 ms", "p99 ms", "refused", "errors"), rows)


async def _set_up(url: str, emails: Sequence[str], password: str, connections: int) -> tuple[list[dict[str, Any]], int]:
    """Register all users and open more sessions than connections, for some users two or more.

    Returns the sessions and the credits of each user.
    """
    free = asyncio.Semaphore(_SETTING_UP)

    async def ask(method: str, path: str, **options: Any) -> dict[str, Any]:
        async with free:
            return await _ask(client, method, path, **options)

    async def register(email: str) -> None:
        await ask("POST", "/api/v1/auth/register", json={"email": email, "password": password})

    async def session(email: str) -> dict[str, Any]:
        return await ask("POST", "/api/v1/auth/login", json={"email": email, "password": password})

    async with connected(url) as client:
        await _ask(client, "GET", "/health")
        await register(emails[0])  # the first user shows any error, so that a failure leaves at most one user behind
        await asyncio.gather(*map(register, emails[1:]))
        count = max(len(emails), connections + 1)  # wrk prepares one request that it never sends
        sessions = await asyncio.gather(*(session(emails[i % len(emails)]) for i in range(count)))
        bearer = {"Authorization": f"Bearer {sessions[0]['accessToken']}"}
        balance = await ask("GET", "/api/v1/credits/balance", headers=bearer)
    return list(sessions), balance["balance"] + balance["freeCreditsRemaining"]


async def _ask(client: aiohttp.ClientSession, method: str, path: str, **options: Any) -> dict[str, Any]:
    """The answer to one request, which is repeated while the service is busy."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            async with client.request(method, path, **options) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OperatorError(
                f"the service does not answer: {str(error) or 'timeout'}",
                hint="is `mana serve` running there?",
            ) from error
        if response.status == 429 or int(response.headers.get("RateLimit-Limit", _ENOUGH)) < _ENOUGH:
            raise OperatorError(
                "the service limits how many requests we may make",
                hint="start it with RATE_LIMIT_MAX=0 for the measurement;"
                f" or set RATE_LIMIT_MAX and RATE_LIMIT_AUTH_MAX to at least {_ENOUGH}",
            )
        retry_after = response.headers.get("Retry-After", "")
        if response.status == 503 and retry_after.isdigit() and time.monotonic() < deadline:
            await asyncio.sleep(int(retry_after))
            continue
        if not response.ok:
            raise OperatorError(f"{method} {path} was answered with {response.status}: {text[:300]}")
        answer: dict[str, Any] = json.loads(text)
        return answer
