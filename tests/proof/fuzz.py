"""The long form of tests/py/system/test_fuzz.py: as many calls of the API and of every SQL function as asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from harness.clients import Service, Session
from harness.databases import start_cluster
from harness.gateways import Gateway
from proof import http_fuzz
from proof.sql_fuzz import SqlFuzz


def soak(examples: int, seed: int) -> int:
    """The exit code: 1 when anything was found."""
    print(f"seed {seed}")
    failed = False
    with (
        start_cluster() as cluster,
        cluster.database() as database,
        Gateway(database.gateway_url, {"JWT_ACCESS_TOKEN_EXPIRY": "1d"}) as gateway,
    ):
        user, other = asyncio.run(_two_users(gateway.url))
        for operations, token in (
            (http_fuzz.EVERYTHING, None),
            (http_fuzz.ALL_BUT_LOGOUT, other.access_token),
            (http_fuzz.LOGOUT, other.access_token),
        ):
            done = http_fuzz.run(gateway.url, examples, seed, operations, token)
            print(done.stdout + done.stderr if done.returncode else f"{http_fuzz.calls(done.stdout)} calls of the API")
            failed |= done.returncode != 0
            if token:
                asyncio.run(_assert_was_let_in(gateway.url, token, operations))

        fuzz = SqlFuzz(database, user, other, seed)
        for finding in fuzz.run(examples):
            print(finding)
            failed = True
        print(f"{fuzz.calls} calls of SQL functions")
        unexpected = [line for line in gateway.output if '"level":"error"' in line]
        print("".join(unexpected), end="")
    print("findings above" if failed or unexpected else "nothing found")
    return int(failed or bool(unexpected))


async def _two_users(url: str) -> tuple[Session, Session]:
    async with Service(url) as service:
        return await service.new_session(), await service.new_session()


async def _assert_was_let_in(url: str, token: str, operations: Sequence[str]) -> None:
    async with Service(url) as service:
        await http_fuzz.assert_was_let_in(service, token, operations)
