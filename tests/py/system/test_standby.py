"""A server that has become a standby: nobody is told anything wrong, and its promotion is all that is needed."""

from __future__ import annotations

import pytest

from gateway.operate import migrate
from gateway.operate.local_postgres import LocalPostgres
from gateway.problems import OperatorError
from harness.clients import PASSWORD, Service
from harness.gateways import Gateway
from harness.places import public_directory
from harness.waiting import until

pytestmark = pytest.mark.soak


async def test_a_standby_is_not_ready_until_it_is_promoted() -> None:
    server = LocalPostgres(public_directory(), durable=False)
    server.start(lambda _: None)
    try:
        migrate.apply(server.url, lambda _: None)
        with Gateway(server.gateway_url()) as gateway:
            async with Service(gateway.url) as service:
                session = await service.new_session()
                server.stop()
                (server.directory / "cluster" / "data" / "standby.signal").touch()
                server.start(lambda _: None)

                async def is_misconfigured() -> bool:
                    ready = await service.get("/health/ready")
                    return (ready.status, ready.body["database"]) == (503, "misconfigured")

                await until(is_misconfigured)
                assert (await service.login(session.email)).status == 503
                assert (await service.login(session.email, "wrong" + PASSWORD)).status == 503
                assert (await service.login("nobody@example.com")).status == 503
                assert (await session.use()).status == 503
                for _ in range(2):
                    with pytest.raises(OperatorError, match=r"^the server is a standby, and a deploy has to write$"):
                        migrate.apply(server.url, lambda _: None)

                with migrate.connect(server.url) as connection:
                    connection.execute("select pg_promote()")

                async def is_ready() -> bool:
                    return (await service.get("/health/ready")).status == 200

                await until(is_ready)
                assert (await service.login(session.email)).status == 200
                assert (await session.use()).status == 200
        migrate.apply(server.url, lambda _: None)
    finally:
        server.remove()
