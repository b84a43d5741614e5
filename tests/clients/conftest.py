"""A gateway on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.databases import start_cluster
from harness.gateways import Gateway


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    with start_cluster() as cluster, cluster.database() as database:
        with Gateway(database.gateway_url) as running:
            yield running
        database.assert_ledger_is_sound()
