"""`make stack-test`: docker-compose.yml as it stands, in containers, with stand-ins for images unless --pull."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stack.engine import build_stand_ins, engine
from stack.project import PROJECT, Stack


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pull", action="store_true", help="use the images that docker-compose.yml names, no stand-ins")


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole service, started on empty volumes; stopped and removed with them at the end."""
    stand_ins = not request.config.getoption("--pull")
    with engine() as client:
        if stand_ins:
            build_stand_ins(client)
        stack = Stack(client, tmp_path_factory.mktemp("stack"), stand_ins)
        stack.compose("down", "--volumes", "--remove-orphans")  # leftovers of a killed run
        try:
            stack.compose("build")
            stack.start()
            yield stack
        except AssertionError:
            print(stack.compose("ps", "--all"), stack.compose("logs", "--tail=30"))
            raise
        finally:
            stack.compose("down", "--volumes", "--remove-orphans", "--timeout=30")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Adds the last logs of the services to a failure."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack:
        report.sections.append((PROJECT, stack.compose("ps", "--all") + stack.compose("logs", "--tail=20")))
    return report
