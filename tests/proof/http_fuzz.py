"""schemathesis over the OpenAPI document of a gateway: examples, limits of every field, random calls.

No answer is a 5xx, and each has a status, a content type, headers and a body that the document names;
what breaks the document is refused, and other methods too.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.clients import Service, assert_problem

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")

# Who calls, and what. Only the first logout of a token finds a session, so it is called apart.
EVERYTHING: Sequence[str] = ()
ALL_BUT_LOGOUT = ("--exclude-operation-id", "log_out")
LOGOUT = ("--include-operation-id", "log_out")


def run(
    url: str, examples: int, seed: int, operations: Sequence[str] = EVERYTHING, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """One run. Its output has the seed and, for each failure, the request as a curl command."""
    header = ("--header", f"Authorization: Bearer {token}") if token else ()
    with tempfile.TemporaryDirectory() as directory:  # it leaves a cache where it runs
        return subprocess.run(
            [
                Path(sys.executable).with_name("st"), "--config-file", CONFIGURATION, "run", f"{url}/openapi.json",
                "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--seed", str(seed),
                "--generation-database", "none", "--suppress-health-check", "all", "--continue-on-failure",
                "--output-sanitize", "false", "--no-color", *operations, *header,
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd=directory,
        )  # fmt: skip


def calls(output: str) -> int:
    """How many calls a run made."""
    found = re.search(r"(\d+) generated", output)
    assert found, output
    return int(found[1])


async def assert_was_let_in(service: Service, token: str, operations: Sequence[str]) -> None:
    """A run with this token did something: the document names 401 everywhere, so nobody's would have passed as well."""
    usages = await service.get("/api/v1/credits/transactions?type=usage", token=token)
    if operations == LOGOUT:
        assert usages.status == 401, "the session goes on"
        assert_problem(usages, 401, "session_ended")
    else:
        assert usages.status == 200, usages.text
        assert usages.body, "nothing was used"
