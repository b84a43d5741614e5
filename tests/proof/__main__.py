"""The long forms of the proofs: `make soak ARGS="bank --operations 10000000 --seed 1"`."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from pathlib import Path

import click
import pytest

from harness.databases import start_cluster
from proof import bounds as bounding
from proof import crowd as crowding
from proof import cuts as cutting
from proof import enumeration as enumerating
from proof import fuzz as fuzzing
from proof import hostile as setting
from proof import isolation as isolating
from proof import judge as judging
from proof import mutants as mutating
from proof import properties as stepping
from proof import silence as silencing
from proof.bank import Violation
from proof.crashes import Crashes, crash_house
from proof.runs import bank_house, play


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.option("--operations", default=100_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--round", "size", default=50_000, show_default=True, help="operations on one database")
def bank(operations: int, seed: int, size: int) -> None:
    """Load the service with 32 clients and compare all they saw with the model."""
    started, done, movements = time.monotonic(), 0, 0
    with start_cluster() as cluster:
        while done < operations:
            with bank_house(cluster) as targets:
                report = asyncio.run(play(targets, "bank", seed, operations=min(size, operations - done)))
            done, movements, seed = done + report.operations, movements + report.movements, seed + 1
            click.echo(f"seed {seed - 1}: {report}")
    seconds = time.monotonic() - started
    click.echo(f"bank: {done} operations, {movements} movements, {seconds:.0f} s, {done / seconds:.0f}/s in all")


@main.command()
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--round", "size", default=25, show_default=True, help="kills on one database")
@click.option("--within", default=5.0, show_default=True, help="seconds in which the service must be back")
def crashes(kills: int, seed: int, size: int, within: float) -> None:
    """Kill PostgreSQL, a gateway's worker, PgBouncer and Redis under that load."""
    started, done, operations = time.monotonic(), 0, 0
    while done < kills:
        with crash_house() as (targets, parts):
            faults = Crashes(parts, seed=seed, kills=min(size, kills - done), within=within)
            report = asyncio.run(play(targets, "crashes", seed, faults=faults))
        done, operations, seed = done + min(size, kills - done), operations + report.operations, seed + 1
        click.echo(f"seed {seed - 1}: {faults}; {report}")
    click.echo(f"crashes: {done} kills, {operations} operations, {time.monotonic() - started:.0f} s")


@main.command()
@click.option("--cuts", default=10_000, show_default=True, help="connections to break")
@click.option("--seed", default=1, show_default=True)
@click.option("--round", "size", default=500, show_default=True, help="cuts on one database")
def cuts(cuts: int, seed: int, size: int) -> None:
    """Break connections between all parts under that load, also between COMMIT and the answer."""
    started, done, committed, operations = time.monotonic(), 0, 0, 0
    with start_cluster() as cluster:
        while done < cuts:
            faults, report = asyncio.run(cutting.run(cluster, seed, min(size, cuts - done)))
            done, committed, seed = done + faults.done, committed + faults.committed, seed + 1
            operations += report.operations
            click.echo(f"seed {seed - 1}: {faults}; {report}")
    figures = f"{done} cuts, {committed} of them between COMMIT and the answer, {operations} operations"
    click.echo(f"cuts: {figures}, {time.monotonic() - started:.0f} s")


@main.command()
@click.argument("history", type=click.Path(exists=True, path_type=Path))
def judge(history: Path) -> None:
    """Judge a history that was kept."""
    problems = judging.judge(history)
    for problem in problems:
        click.echo(problem)
    sys.exit(bool(problems))


@main.command()
@click.option("--calls", default=1_000_000, show_default=True)
@click.option("--minutes", default=math.inf, help="end after that time, with fewer calls")
@click.option("--seed", default=1, show_default=True)
def isolation(calls: int, minutes: float, seed: int) -> None:
    """Mixed users on few connections: not one foreign row."""
    isolating.soak(calls, minutes, seed)


@main.command()
@click.option("--examples", default=2_000, show_default=True, help="sequences for each machine")
@click.option("--seed", default=1, show_default=True)
def properties(examples: int, seed: int) -> None:
    """Sequences of what people do, over HTTP and in SQL, compared with the model."""
    stepping.soak(examples, seed)


@main.command()
@click.option("--seconds", default=600, show_default=True)
@click.option("--seed", default=1, show_default=True)
def races(seconds: int, seed: int) -> None:
    """Two sessions stepped through their statements: every schedule with one switch, then drawn ones."""
    os.environ |= {"SOAK_SECONDS": str(seconds), "SOAK_SEED": str(seed)}
    sys.exit(pytest.main(["-m", "", "tests/py/system/test_races.py"]))


@main.command()
@click.option(
    "--level", "levels", multiple=True, type=click.Choice(setting.LEVELS), default=setting.LEVELS, help="all without it"
)
@click.option("--sample", type=int, help="so many settings, drawn; all of them without it")
@click.option("--seed", default=1, show_default=True)
def hostile(levels: tuple[str, ...], sample: int | None, seed: int) -> None:
    """Each setting of PostgreSQL at its worst: all goes right, or is refused with a line."""
    sys.exit(bool(setting.soak(levels, sample, seed)))


@main.command()
def repeats() -> None:
    """What the gate has seen in another way: its tests of accounts and credits, through PgBouncer."""
    sys.exit(pytest.main(["-m", "soak", "--numprocesses", "2", "--dist", "loadfile"]))


@main.command()
@click.option("--examples", default=1_000, show_default=True, help="random calls of each route and each function")
@click.option("--seed", default=1, show_default=True)
def fuzz(examples: int, seed: int) -> None:
    """Random calls of the API and of every SQL function: nothing that is not declared."""
    sys.exit(fuzzing.soak(examples, seed))


@main.command()
@click.option("--transactions", default=300_000, show_default=True, help="of the worst user")
@click.option("--seconds", default=30, show_default=True, help="of everything at once")
def bounds(transactions: int, seconds: int) -> None:
    """The worst that one user can ask for, through each door, and what others see; writes deploy/BOUNDS.md."""
    with start_cluster() as cluster:
        report = bounding.soak(transactions, seconds, cluster)
    click.echo(bounding.DOCUMENT.read_text())
    problems = report.problems()
    for problem in problems:
        click.echo(problem)
    sys.exit(bool(problems))


@main.command()
@click.option("--connections", default=3_500, show_default=True, help="half as many where each takes a gateway's")
@click.option("--seconds", default=20, show_default=True, help="in which others ask, for each crowd")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(crowding.KINDS)), help="all of them without it")
def crowd(connections: int, seconds: int, kinds: tuple[str, ...]) -> None:
    """Connections that never finish, and what others see of the proxy."""
    problems = crowding.soak(connections, seconds, kinds, click.echo)
    for problem in problems:
        click.echo(problem)
    sys.exit(bool(problems))


@main.command()
def silence() -> None:
    """Peers that vanish without a word, and when they are given up; needs root."""
    late = silencing.soak(click.echo)
    for line in late:
        click.echo(line)
    sys.exit(bool(late))


@main.command()
@click.option("--samples", default=500, show_default=True, help="of each kind")
@click.option("--seed", default=1, show_default=True)
def enumeration(samples: int, seed: int) -> None:
    """Whether anybody can tell by looks or by time who is registered."""
    sys.exit(enumerating.soak(samples, seed))


@main.command()
@click.option("--sample", type=int, help="so many, drawn from all files alike; all of them without it")
@click.option("--seed", default=1, show_default=True)
@click.option("--jobs", default=2, show_default=True)
@click.option("--files", multiple=True, help="a glob like 'sql/functions/credits/**/*.sql'; many times if need be")
@click.option("--only", default="", help="a part of the line that names the mutant, to try one again")
@click.option("--minutes", default=math.inf, help="begin no other after that time")
def mutants(*, sample: int | None, seed: int, jobs: int, files: tuple[str, ...], only: str, minutes: float) -> None:
    """Put small faults into the SQL and the gateway: which of them do the tests not see?"""
    chosen = mutating.collect(files, only, sample, seed)
    click.echo(f"seed {seed}: {len(chosen)} mutants")
    sys.exit(mutating.soak(chosen, jobs, minutes))


if __name__ == "__main__":
    # So that make, or a time limit, ends the parts as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except Violation as violation:
        click.echo(violation, err=True)
        sys.exit(1)
