"""The server's programs: where they are, and how the system's package manager installs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from gateway.operate.migrate import Report
from gateway.problems import OperatorError

OLDEST_VERSION = 15

# Debian's package starts a server of its own unless this file forbids it.
APT = """
set -e
export DEBIAN_FRONTEND=noninteractive
quiet=/etc/postgresql-common/createcluster.d/mana-core-auth.conf
trap 'rm -f $quiet' EXIT
trap 'exit 130' INT TERM
mkdir -p "$(dirname $quiet)"
echo 'create_main_cluster = false' > $quiet
apt-get update
apt-get install --yes --no-install-recommends postgresql
"""
INSTALLERS = {
    "apt-get": ["sh", "-c", APT],
    "dnf": ["dnf", "install", "--assumeyes", "postgresql-server"],
    "apk": ["apk", "add", "postgresql", "postgresql-contrib"],
    "brew": ["brew", "install", "postgresql@17"],
}


def find_binaries(install: bool = False, report: Report = lambda _: None) -> Path:
    """The directory of the newest server of version 15 or later; ``install`` installs one if it is missing.

    Raises OperatorError when no server was found or installed.
    """
    if not (found := _installed()):
        if install:
            _install(report)
            found = _installed()
        if not found:
            raise OperatorError(
                f"no PostgreSQL server of version {OLDEST_VERSION} or newer was found",
                hint="install one (https://www.postgresql.org/download/) or set DATABASE_URL",
            )
    return found[max(found)]


def binaries_for(data: Path) -> Path:
    """The programs of the version that made the data. Raises OperatorError when they are not installed."""
    version = int((data / "PG_VERSION").read_text())
    found = _installed()
    if version not in found:
        here = ", ".join(str(other) for other in sorted(found))
        raise OperatorError(
            f"{data} was made by PostgreSQL {version}, but this machine has {here}",
            hint=f"install PostgreSQL {version}, or move the directory away to begin with an empty database",
        )
    return found[version]


def _installed() -> dict[int, Path]:
    """The directories of programs, by server version, for versions that are new enough."""
    found: dict[int, Path] = {}
    for directory in _candidates():
        if all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres", "pg_ctl")):
            version = version_of(directory)
            if version >= OLDEST_VERSION:
                found.setdefault(version, directory)
    return found


def _candidates() -> Iterable[Path]:
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run([pg_config, "--bindir"], check=False, capture_output=True, text=True)
        yield Path(asked.stdout.strip())
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "usr/libexec/postgresql*",
        "opt/homebrew/opt/postgresql@*/bin",
        "usr/local/opt/postgresql@*/bin",
    ):
        yield from Path("/").glob(pattern)


def version_of(binaries: Path) -> int:
    printed = subprocess.run(
        [str(binaries / "postgres"), "--version"], check=False, capture_output=True, text=True
    ).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", printed)
    return int(match[1]) if match else 0


def _install(report: Report) -> None:
    name = next((name for name in INSTALLERS if shutil.which(name)), None)
    if name is None:
        return
    command = INSTALLERS[name]
    if os.geteuid() != 0 and name != "brew":
        if not _may_sudo():
            raise OperatorError(
                "PostgreSQL is not installed, and installing it needs root",
                hint=f"sudo {' '.join(command) if name != 'apt-get' else 'apt-get install postgresql'}",
            )
        command = ["sudo", "-n", *command]
    report(f"installing PostgreSQL with {name}")
    finished = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if finished.returncode != 0:
        last = (finished.stdout.strip().splitlines() or ["no message"])[-1]
        raise OperatorError(
            f"{name} could not install PostgreSQL: {last}",
            hint="install a PostgreSQL server yourself, or set DATABASE_URL",
        )


def _may_sudo() -> bool:
    return shutil.which("sudo") is not None and (
        subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    )
