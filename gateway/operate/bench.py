"""How fast a running service answers over HTTP: `mana bench`, and one side of tests/bench.

Quick calls are sent by wrk, which costs a fraction of what the service costs: a client in Python would
be what is measured. A machine does some ten logins a second; they are sent from here, which tells one
answer from the other.
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
_ENOUGH = 1_000_000  # requests a window: what a run stays below
_SETTING_UP = 4  # requests at a time that make users and sessions
_PATIENCE = 60.0  # seconds that one of them is tried again while the service is busy


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement: answers that are as they should be, the others, milliseconds to answer."""

    answers: int
    seconds: float
    errors: int
    p50: float
    p95: float
    p99: float
    refused: int = 0  # logins that got 503 with Retry-After: neither

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers / self.seconds


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown that can be read as it is."""
    lines = [tuple(map(str, headings)), *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


# ---------------------------------------------------------------- quick calls


def require_wrk() -> None:
    """Raise OperatorError where there is no wrk."""
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
    """Let wrk ask for one kind of work, in turn for each of the senders.

    A sender is an access token; for ``refresh`` a refresh token, of which there are more than
    connections: it cannot be used twice. ``environment`` is for bench.lua.
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
    """Log in over and over, so many at a time. Latencies are of those that got in.

    As with pgbench, what has begun when the time is over is waited for and counts.
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
    """Measure a running service with new users, who stay. Raises OperatorError when it cannot be done."""
    require_wrk()
    password = secrets.token_urlsafe(18)
    emails = [f"bench-{secrets.token_hex(8)}@example.com" for _ in range(users)]
    report(f"registering {users} users at {url}, and logging them in")
    sessions, credit = asyncio.run(_set_up(url, emails, password, connections))
    tokens = {
        "refresh": [session["refreshToken"] for session in sessions],
        "use": [session["accessToken"] for session in sessions[:users]],  # each in turn: all can pay the same
    }
    rounds = {}
    for kind in KINDS:
        if kind == "use" and not credit:
            report("use: left out, new users have no credits here")
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
    """Register all, and log each in, some twice if need be: more sessions than connections.

    Returns the sessions and the credits that every user has.
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
        await register(emails[0])  # what is wrong is wrong with the first, and leaves one user at most
        await asyncio.gather(*map(register, emails[1:]))
        count = max(len(emails), connections + 1)  # wrk makes one request up that it never sends
        sessions = await asyncio.gather(*(session(emails[i % len(emails)]) for i in range(count)))
        bearer = {"Authorization": f"Bearer {sessions[0]['accessToken']}"}
        balance = await ask("GET", "/api/v1/credits/balance", headers=bearer)
    return list(sessions), balance["balance"] + balance["freeCreditsRemaining"]


async def _ask(client: aiohttp.ClientSession, method: str, path: str, **options: Any) -> dict[str, Any]:
    """The answer to one request, tried again for as long as the service is busy."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            async with client.request(method, path, **options) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OperatorError(
                f"the service does not answer: {str(error) or 'it took too long'}",
                hint="is `mana serve` running there?",
            ) from error
        if response.status == 429 or int(response.headers.get("RateLimit-Limit", _ENOUGH)) < _ENOUGH:
            raise OperatorError(
                "the service limits how many requests we may make",
                hint="start it with RATE_LIMIT_MAX=0 for as long as it is measured;"
                f" or set RATE_LIMIT_MAX and RATE_LIMIT_AUTH_MAX to {_ENOUGH} at least",
            )
        retry_after = response.headers.get("Retry-After", "")
        if response.status == 503 and retry_after.isdigit() and time.monotonic() < deadline:
            await asyncio.sleep(int(retry_after))
            continue
        if not response.ok:
            raise OperatorError(f"{method} {path} was answered with {response.status}: {text[:300]}")
        answer: dict[str, Any] = json.loads(text)
        return answer
