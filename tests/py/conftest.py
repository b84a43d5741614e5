"""What the tests stand on: a real PostgreSQL, a database a module, gateways as real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from harness.clients import Service
from harness.databases import Cluster, Database, start_cluster
from harness.gateways import Gateway
from harness.servers import PgBouncer, Redis


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One server for the whole run, with a migrated template to copy databases from."""
    with start_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Database]:
    """A migrated database of this module's own."""
    with cluster.database() as created:
        yield created


@pytest.fixture(scope="session")
def pgbouncer(cluster: Cluster) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before the cluster, with two server connections a database."""
    with PgBouncer(cluster) as running:
        yield running


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A Redis server with a password."""
    with Redis() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(database: Database) -> Iterator[Gateway]:
    """A gateway on this module's database, without rate limits."""
    with Gateway(database.gateway_url) as running:
        yield running


@pytest.fixture(scope="module", params=["direct", pytest.param("pgbouncer", marks=pytest.mark.soak)])
def either_gateway(request: pytest.FixtureRequest, database: Database, pgbouncer: PgBouncer) -> Iterator[Gateway]:
    """A gateway that reaches its database directly, and in the soak one that goes through PgBouncer.

    With EVERY_GATEWAY of harness.gateways, a test runs in the gate through PgBouncer and with two workers.
    """
    url = pgbouncer.url(database) if request.param == "pgbouncer" else database.gateway_url
    with Gateway(url, {"WORKERS": "2" if request.param == "workers" else "1"}) as running:
        yield running


@pytest.fixture
async def service(gateway: Gateway) -> AsyncIterator[Service]:
    """A client of ``gateway``."""
    async with Service(gateway.url) as client:
        yield client


@pytest.fixture
async def either_service(either_gateway: Gateway) -> AsyncIterator[Service]:
    """A client of ``either_gateway``."""
    async with Service(either_gateway.url) as client:
        yield client
