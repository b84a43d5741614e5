"""Whatever people do in whatever order, the service does what the model says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.databases import Cluster
from proof import properties


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[properties.World]:
    with properties.world(cluster) as made:
        yield made


@pytest.mark.parametrize(("machine", "examples"), [(properties.OverHttp, 5), (properties.InSql, 8)])
def test_sequences_end_as_the_model_says(
    world: properties.World, machine: type[properties.Machine], examples: int
) -> None:
    """The short form of ``make soak ARGS=properties``; always the same sequences."""
    properties.drive(machine, world, examples, number=1)
