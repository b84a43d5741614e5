"""How the gateway and its connections to PostgreSQL live through failures."""

from __future__ import annotations

import asyncio

from gateway.database import LOST_AFTER
from support import Database, Service, Session, together

END_ALL = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
 where usename = 'mana_gateway' and datname = current_database()
"""


async def test_ended_server_processes_leave_no_call_without_an_answer(service: Service, database: Database) -> None:
    session = await service.new_session()
    calling = True

    async def end_all() -> int:
        ended = 0
        with database.connect() as connection:
            for _ in range(20):
                await asyncio.sleep(0.05)
                [(count,)] = connection.execute(END_ALL).fetchall()
                ended += count
        nonlocal calling
        calling = False
        return ended

    async def call() -> set[int]:
        statuses = set()
        while calling:
            # Sooner than a connection that is silent is given up.
            async with asyncio.timeout(LOST_AFTER - 1):
                statuses.add((await session.get("/api/v1/credits/balance")).status)
        return statuses

    ended, *statuses = await together(end_all(), *(call() for _ in range(8)))
    assert ended > 0
    assert set.union(*statuses) <= {200, 503}
    assert await _answers_again(session)


async def _answers_again(session: Session) -> bool:
    for _ in range(50):
        if (await session.get("/api/v1/credits/balance")).status == 200:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_call_that_waits_for_a_lock_does_not_hold_up_others(service: Service, database: Database) -> None:
    hot, other = await service.new_session(), await service.new_session()
    with database.connect() as connection, connection.transaction():
        connection.execute("select from credits.balances where user_id = %s for update", (hot.user_id,))
        spends = [asyncio.create_task(hot.use(1)) for _ in range(4)]
        await asyncio.sleep(0.2)
        assert {reply.status for reply in await together(*(other.use(1) for _ in range(20)))} == {200}
        assert not any(spend.done() for spend in spends)
    assert {(await spend).status for spend in spends} == {200}
    database.assert_ledger_is_sound()
