"""The crashes' short form: each part is killed once under the bank's load."""

from __future__ import annotations

from proof.crashes import Crashes, crash_house
from proof.runs import play

SEED = 20261122
WITHIN = 60.0  # seconds; the promise is 5, which the long form measures on a machine of its own


async def test_nothing_is_lost_when_parts_are_killed() -> None:
    with crash_house() as (targets, parts):
        faults = Crashes(parts, seed=SEED, kills=len(parts), within=WITHIN, pause=(0.1, 0.5))
        report = await play(targets, "crashes", SEED, faults=faults)
    assert faults.recoveries.keys() == {part.name for part in parts}
    assert report.outcomes["unknown"] > 0, "nobody was hit"
    assert report.outcomes["ok"] > 0
