"""Where the tools of others are, and how they are run. Nothing that they make is kept in the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.places import ROOT

HERE = Path(__file__).parent
BUILT = ROOT / "build" / "clients"
PYTHON = BUILT / "venv" / "bin" / "python"
NODE_MODULES = BUILT / "node_modules"
TIMEOUT = 900  # seconds; the first run of Maven loads what it needs


def run(*command: str | Path, cwd: Path = BUILT, environment: Mapping[str, str] | None = None) -> str:
    """What a command writes to standard output. Fails with all that it wrote if it does."""
    finished = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=cwd, timeout=TIMEOUT,
        env={**os.environ, "NO_COLOR": "1", **(environment or {})},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-10_000:] + finished.stderr[-10_000:]
    return finished.stdout


def node_tool(name: str, *arguments: str | Path) -> str:
    return run(NODE_MODULES / ".bin" / name, *arguments)


def mypy(*arguments: str | Path, cwd: Path) -> None:
    """Check types with the project's mypy and the packages that the generated client needs."""
    run(Path(sys.executable).with_name("mypy"), "--python-executable", PYTHON, *arguments, cwd=cwd)


def maven(module: str, *arguments: str) -> str:
    """What the main program of a module writes, after its sources were compiled."""
    # Within Maven's own process a thread that OkHttp leaves behind would be waited for.
    runs = f"-Dexec.args={' '.join(arguments)}"
    written = run("mvn", "--batch-mode", "--quiet", "--file", HERE / module / "pom.xml", "compile", "exec:java", runs,
                  "-Dexec.cleanupDaemonThreads=false", cwd=HERE)  # fmt: skip
    return re.sub(r"\x1b\[\d*m", "", written)  # Debian's Maven resets colours, whatever it is told


def generate(language: str, document: Path, output: Path, *options: str) -> None:
    """Generate a client with the generator's defaults."""
    shutil.rmtree(output, ignore_errors=True)
    run(PYTHON.with_name("openapi-generator-cli"), "generate", "--generator-name", language,
        "--input-spec", document, "--output", output, *options)  # fmt: skip
