"""Whether spends keep their speed beside a flood of logins.

Logins arrive at FLOOD times the rate that bcrypt allows on all cores, no matter how slow the answers are.
bcrypt rightly takes CPU from spends, because logins are work, too. So spends beside the flood are compared
with spends beside bare bcrypt, which pgbench computes over as many connections as the gateway's password
lanes have. The difference is the cost of the flood itself. The same pgbench alone measures the rate that
bcrypt allows, which bounds the number of logins.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bench.measure import LOGGED_IN, Measured, Plan, over_http, pgbench
from gateway.operate.bench import Logins, connected, percentile, table
from harness.clients import PASSWORD
from harness.gateways import Gateway

FLOOD = 10
PASSWORD_CONNECTIONS = 2  # of a worker: the default of the setting
LEAD = 2  # seconds for which the other load runs before and after the spends
# The argument is new each time: crypt() is immutable, so a constant would be computed once.
BCRYPT = "select extensions.crypt(clock_timestamp()::text, '$2a$12$' || repeat('.', 22));"


def isolation(url: str, gateway: Gateway, plan: Plan) -> dict[str, Any]:
    """Measure, print, and return the figures."""
    bcrypt: list[float] = []
    bcrypt_beside: list[float] = []
    logins_beside: list[float] = []
    logins = Measured()
    spends = {name: Measured() for name in ("alone", "beside bcrypt", "beside logins")}
    answers = Logins()
    for number in range(plan.rounds):
        plan.report(f"round {number + 1} of {plan.rounds}: bcrypt alone, logins alone, spends alone")
        bcrypt.append(_bcrypt(url, plan, max(plan.seconds, 5)))
        over_http(url, gateway, "login", plan.seconds, logins)
        over_http(url, gateway, "use", plan.seconds, spends["alone"])
        plan.report(f"round {number + 1} of {plan.rounds}: spends beside bcrypt, spends beside logins")
        bcrypt_beside.append(_beside_bcrypt(url, gateway, plan, spends["beside bcrypt"]))
        before = len(answers.right)
        flood = Flood(FLOOD * statistics.median(bcrypt), answers)
        took = asyncio.run(_beside_logins(url, gateway, plan, flood, spends["beside logins"]))
        logins_beside.append((len(answers.right) - before) / took)

    median = statistics.median
    alone, beside_bcrypt, beside_logins = (median(m.http) for m in spends.values())
    p99 = {name: median(m.p99) for name, m in spends.items()}
    refused = [1000 * seconds for seconds in answers.refused]
    figures = {
        "bcrypt/s": bcrypt, "logins/s": logins.http, "logins to bcrypt": median(logins.http) / median(bcrypt),
        "spends/s alone": spends["alone"].http, "spends/s beside bcrypt": spends["beside bcrypt"].http,
        "spends/s beside logins": spends["beside logins"].http,
        "spends beside logins to beside bcrypt": beside_logins / beside_bcrypt,
        "spends p99 ms": p99, "p99 beside logins to alone": p99["beside logins"] / p99["alone"],
        "bcrypt/s beside spends": bcrypt_beside, "logins/s beside spends": logins_beside,
        "refused": len(refused), "refused p50 ms": percentile(refused, 50), "refused p99 ms": percentile(refused, 99),
        "refused most ms": percentile(refused, 100),
        "errors": answers.errors + logins.errors + sum(m.errors for m in spends.values()),
    }  # fmt: skip
    rows = [
        ("alone", f"{alone:,.0f}", f"{p99['alone']:.1f}", "-"),
        ("beside bcrypt", f"{beside_bcrypt:,.0f}", f"{p99['beside bcrypt']:.1f}", f"{median(bcrypt_beside):.1f}"),
        ("beside logins", f"{beside_logins:,.0f}", f"{p99['beside logins']:.1f}", f"{median(logins_beside):.1f}"),
    ]
    print(f"\nSpends, {plan.workers} worker(s)\n")
    print(table(("spends", "HTTP/s", "p99 ms", "bcrypt or logins/s"), rows))
    print(
        f"\nlogins alone {median(logins.http):.1f}/s, bcrypt alone {median(bcrypt):.1f}/s:"
        f" ratio {figures['logins to bcrypt']:.2f}"
        f"\nspends beside logins, to beside bcrypt: {figures['spends beside logins to beside bcrypt']:.2f};"
        f" p99 to alone: {figures['p99 beside logins to alone']:.2f}"
        f"\n503 with Retry-After for {len(refused)} logins, after {figures['refused p50 ms']:.0f} ms (median),"
        f" {figures['refused p99 ms']:.0f} ms (p99), {figures['refused most ms']:.0f} ms (most)"
    )
    return figures


def _bcrypt(url: str, plan: Plan, seconds: int) -> float:
    """bcrypts a second over as many connections as the gateway has for passwords."""
    return pgbench(url, BCRYPT, plan.workers * PASSWORD_CONNECTIONS, seconds)


def _beside_bcrypt(url: str, gateway: Gateway, plan: Plan, into: Measured) -> float:
    """Spend beside bcrypt; returns the bcrypts a second."""
    with ThreadPoolExecutor(1) as pool:
        rate = pool.submit(_bcrypt, url, plan, plan.seconds + 2 * LEAD)
        time.sleep(LEAD)
        over_http(url, gateway, "use", plan.seconds, into)
        return rate.result()


async def _beside_logins(url: str, gateway: Gateway, plan: Plan, flood: Flood, into: Measured) -> float:
    """Spend beside a flood of logins; returns the length of the flood in seconds."""
    began = time.monotonic()
    flooding = asyncio.create_task(flood.run(gateway, plan.seconds + 2 * LEAD))
    await asyncio.sleep(LEAD)
    await asyncio.to_thread(over_http, url, gateway, "use", plan.seconds, into)
    await flooding
    return time.monotonic() - began


@dataclass(frozen=True)
class Flood:
    """Logins that arrive at a rate a second, and their answers."""

    rate: float
    answers: Logins

    async def run(self, gateway: Gateway, seconds: int) -> None:
        """Send logins for ``seconds``, and wait for every answer."""
        began = time.monotonic()
        async with connected(gateway.url) as client, asyncio.TaskGroup() as tasks:
            for number in range(round(self.rate * seconds)):
                await asyncio.sleep(began + number / self.rate - time.monotonic())
                tasks.create_task(self.answers.add(client, f"user{number % LOGGED_IN}@example.com", PASSWORD))
