"""The bank's short form: everything at once, and all that was seen compared with the model."""

from __future__ import annotations

from proof.runs import bank_house, play
from support import Cluster

SEED = 20261122
OPERATIONS = 8_000


async def test_what_32_clients_saw_is_what_the_model_says(cluster: Cluster) -> None:
    with bank_house(cluster) as targets:
        report = await play(targets, "bank", SEED, operations=OPERATIONS)
    assert report.operations >= OPERATIONS
    assert report.checks > 0
    assert report.outcomes["unknown"] == 0, report
    assert report.movements > OPERATIONS / 4, report
    assert report.outcomes["refused"] > OPERATIONS / 20, report
